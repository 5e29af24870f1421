"""The JSON Schema: committed and fresh, described throughout, and of one mind with the models."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from modelspec import registry, resources
from modelspec.errors import ModelspecError
from modelspec.report.pages import read
from modelspec.spec import yaml
from modelspec.spec.load import load
from modelspec.spec.schema import FILE_NAME, as_text, build

CASES = Path(__file__).parents[1] / "failing"
SHAPE = {"MS201", "MS202", "MS203", "MS204", "MS205", "MS305", "MS321"}
"""Codes of what a JSON Schema can say; the others need more than one value, or a file."""

BY_VALIDATORS = {"unknown-metric", "negative-drop", "requires"}
"""Cases whose codes could be of the shape, and are not."""

READABLE = sorted(path.parent.name for path in CASES.glob("*/model.yaml") if not yaml.parse(path.read_bytes()).problems)
"""Cases that an editor would check against the schema at all."""


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return build()


def as_json(value: Any) -> Any:
    """Tuples as lists."""
    if isinstance(value, tuple):
        return [as_json(item) for item in value]
    return {key: as_json(item) for key, item in value.items()} if isinstance(value, dict) else value


def test_committed_file_is_fresh() -> None:
    committed = resources.folder("schemas") / FILE_NAME
    assert committed.read_text(encoding="utf-8") == as_text(), f"run: modelspec schema > schemas/{FILE_NAME}"


def test_is_a_valid_schema(schema: dict[str, Any]) -> None:
    jsonschema.Draft7Validator.check_schema(schema)
    assert schema["$schema"].startswith("http://json-schema.org/draft-07")
    assert schema["$id"]
    text = json.dumps(schema)
    for newer in ('"$defs"', '"prefixItems"', '"discriminator"', '"x-one-of"', '"oneOf"', '{"type": "null"}'):
        assert newer not in text


def fields(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of every mapping in the schema."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from fields(item, f"{place}/{index}")
    if isinstance(node, dict):
        properties = node.get("properties", {}) if "if" not in place.rsplit("/", 2)[-2:] else {}
        for name, field in properties.items():
            yield f"{place}.{name}", field
        for key, value in node.items():
            if key not in {"examples", "default", "enum", "if"} and not (key == "anyOf" and "allOf" in node):
                yield from fields(value, f"{place}/{key}")


def test_every_field_has_a_description_and_an_example(schema: dict[str, Any]) -> None:
    found = dict(fields(schema))
    assert len(found) > 60
    lacking = [
        place
        for place, field in found.items()
        if not field.get("description")
        or not (field.get("examples") or "const" in field or "enum" in field or "default" in field)
    ]
    assert lacking == []


def test_everything_in_the_registry_is_in_the_schema(schema: dict[str, Any]) -> None:
    assert schema["properties"]["source"]["properties"]["framework"]["enum"] == list(registry.frameworks())
    assert schema["properties"]["targets"]["items"]["properties"]["device"]["enum"] == list(registry.targets())
    for name, stage in registry.stages().items():
        assert (name in schema["properties"]) == (stage.block is not False)


@pytest.mark.parametrize("case", READABLE)
def test_agrees_with_the_models(
    case: str, schema: dict[str, Any], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = yaml.parse((CASES / case / "model.yaml").read_bytes())
    monkeypatch.chdir(project)
    with pytest.raises(ModelspecError) as caught:
        load(Path("model.yaml"), text=(CASES / case / "model.yaml").read_bytes())
    codes = {problem.code for problem in caught.value.diagnostics}
    refused = list(jsonschema.Draft7Validator(schema).iter_errors(as_json(document.data)))
    if codes <= SHAPE and case not in BY_VALIDATORS:
        assert refused
    if case not in BY_VALIDATORS and not codes & {
        *SHAPE,
        "MS206",
        "MS207",
        "MS210",
        "MS211",
        "MS212",
        "MS213",
        "MS214",
        "MS215",
    }:
        assert refused == []


@pytest.mark.parametrize("code", ["MS201", "MS202", "MS203", "MS301", "MS303", "MS307", "MS313", "MS321"])
def test_takes_what_is_valid(code: str, schema: dict[str, Any]) -> None:
    example = read(code).example("Fixed")
    assert example is not None
    jsonschema.validate(as_json(yaml.parse(example.text.encode()).data), schema)
