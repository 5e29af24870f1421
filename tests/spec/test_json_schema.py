"""The JSON Schema: committed and fresh, described throughout, and of one mind with the models."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from modelspec import registry, resources
from modelspec.errors import ModelspecError
from modelspec.report.pages import read
from modelspec.spec import yaml
from modelspec.spec.load import load
from modelspec.spec.model import model
from modelspec.spec.schema import FILE_NAME, as_text, build
from modelspec.spec.shape import problems

CASES = Path(__file__).parents[1] / "failing"
SHAPE = {"MS201", "MS202", "MS203", "MS204", "MS205", "MS305", "MS321"}
"""Codes of what a JSON Schema can say; the others need more than one value, or a file."""

BY_VALIDATORS = {
    *("unknown-metric", "negative-drop", "requires", "prune-without-share"),
    # The values of a search are those of other keys.
    *("tune-large-grid", "tune-unknown-path", "tune-values", "tune-no-data", "tune-several-targets"),
    *("tune-objective-misspelt", "tune-objective-of-code"),
}
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
        assert ((stage.block_name or name) in schema["properties"]) == (stage.block is not False)


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
        "MS360",
        "MS340",
        "MS341",
    }:
        assert refused == []


SMALLEST = """\
apiVersion: modelspec/v1
name: digits
version: "1.0.0"
source: {framework: sklearn, artifact: digits.skops}
data:
  test: {path: TEST.NPZ, labels: digit}
targets: [{device: cpu, precision: int8}]
evaluate: {data: test, metrics: [accuracy], gates: [{metric: accuracy, min: 0.95, max_drop: "1%"}]}
"""
WHOLE = [(path.parent.name, path.read_bytes()) for path in (CASES.parents[1] / "examples").glob("*/model.yaml")]
VALID = {"smallest": SMALLEST.encode(), **dict(sorted(WHOLE))}


@pytest.mark.parametrize("name", VALID)
def test_takes_whole_specs(name: str, schema: dict[str, Any]) -> None:
    jsonschema.validate(as_json(yaml.parse(VALID[name]).data), schema)


INSTEAD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2.5,
    "",
    "x",
    "5ms",
    "1%",
    "accuracy",
    "cpu",
    "int8",
    "a.csv",
    [],
    ["x"],
    {},
    {"x": 1},
)


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*place, key))


def changed(data: Any, random: Random) -> None:
    """One key misspelt, taken out or doubled under another name, or one value replaced."""
    *around, last = random.choice([place for place in places(data) if place])
    for part in around:
        data = data[part]
    kind = random.randrange(4) if isinstance(last, str) else 3
    if kind == 3:
        data[last] = random.choice(INSTEAD)
        return
    value = data[last] if kind == 2 else data.pop(last)
    if kind:
        data[f"{last[:-2]}{last[-1]}" or "x"] = value


@pytest.mark.parametrize("seed", range(300))
def test_is_of_one_mind_with_the_models(seed: int, schema: dict[str, Any]) -> None:
    random = Random(seed)
    data = as_json(yaml.parse(random.choice(list(VALID.values()))).data)
    for _ in range(random.choice((1, 1, 2))):
        changed(data, random)
    document = yaml.parse(json.dumps(data).encode())
    refused = [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(data)]
    try:
        model().model_validate(document.data)
    except ValidationError as error:
        codes = {problem.code for problem in problems(error, model(), document)}
        # What a path may be, that a range is not empty, and that 2.0 is no whole number, only the models say.
        assert refused or codes <= {"MS210", "MS211", "MS215"}
    else:
        # A key without a value is refused where the spec is read.
        assert not refused or any(None in pair for pair in leaves(data)), refused


def leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    for place in places(value):
        found = value
        for part in place:
            found = found[part]
        yield place[-1] if place else "", found


MISTAKES = {
    "targets: [{device: cpu, precison: int8}]": "targets/0: Additional properties",
    "targets: [{precision: int8}]": "targets/0: 'device' is a required",
    "targets: [cpu]": "targets/0: 'cpu' is not of type 'object'",
    "quantize: {int8: {method: static}}": "quantize/int8: 'data' is a required",
    "quantize: {int8: {method: dynamc}}": "quantize/int8/method: 'dynamc' is not one of",
    "quantize: {int8: }": "quantize/int8: None is not of type 'object'",
    "data: {test: {path: test.txt}}": "data/test/path: 'test.txt' does not match",
    "data: {test: {pth: test.npz}}": "data/test: 'path' is a required",
    "data: {test: {path: test.npz, lables: y}}": "data/test: Additional properties",
    "evaluate: {gates: [{metric: size, max: 3 apples}]}": "evaluate/gates/0/max: '3 apples' does not match",
    "evaluate: {gates: [{metric: accuracy, max_drop: -1}]}": "evaluate/gates/0/max_drop: -1 is less than the minimum",
    "signature: {inputs: {x: {dtype: float32, shape: [-1]}}}": "signature/inputs/x/shape/0: -1 is less than",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_says_what_is_wrong_where_it_is(line: str, schema: dict[str, Any]) -> None:
    data = as_json({**yaml.parse(SMALLEST.encode()).data, **yaml.parse(line.encode()).data})
    errors = jsonschema.Draft7Validator(schema).iter_errors(data)
    found = [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]
    assert len(found) == 1
    assert found[0].startswith(MISTAKES[line])


@pytest.mark.parametrize("code", ["MS201", "MS202", "MS203", "MS301", "MS303", "MS307", "MS313", "MS321"])
def test_takes_what_is_valid(code: str, schema: dict[str, Any]) -> None:
    example = read(code).example("Fixed")
    assert example is not None
    jsonschema.validate(as_json(yaml.parse(example.text.encode()).data), schema)
