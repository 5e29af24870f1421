"""The document is valid, names the model's own tensors, and its example works as it stands."""

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.runtime.conftest import Running, Start, pair, request

INFER = "/v2/models/line/infer"


@pytest.fixture
def document(shared: Running) -> Any:
    status, found, _ = shared.ask("GET", "/openapi.json")
    assert status == 200
    return found


def test_valid_with_real_names(document: Any) -> None:
    OpenAPIV31SpecValidator(document).validate()
    assert INFER in document["paths"]
    assert document["info"]["version"] == "1.2.0+b"
    tensor = document["components"]["schemas"]["request"]["properties"]["inputs"]["items"]["oneOf"][0]
    assert tensor["properties"]["name"] == {"const": "x"}
    assert tensor["properties"]["shape"]["prefixItems"] == [{"type": "integer", "minimum": 1}, {"const": 3}]


def test_the_example_works_with_curl(shared: Running, document: Any) -> None:
    operation = document["paths"][INFER]["post"]
    example = json.dumps(operation["requestBody"]["content"]["application/json"]["example"])
    url = f"http://127.0.0.1:{shared.port}{INFER}"
    done = subprocess.run(
        ["curl", "-sS", "-H", "Content-Type: application/json", "-d", example, url], capture_output=True, check=True
    )
    assert json.loads(done.stdout) == operation["responses"]["200"]["content"]["application/json"]["example"]


def _validator(document: Any, name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    )


def test_requests_and_answers_are_as_described(shared: Running, document: Any) -> None:
    asks, answers = _validator(document, "request"), _validator(document, "response")
    right = request([[1, 2, 3]])
    assert asks.is_valid(right)
    answers.validate(shared.ask("POST", INFER, right)[1])
    wrongs: list[Any] = [
        {},
        {"inputs": []},
        *(request([[1, 2, 3]], **change) for change in ({"name": "z"}, {"more": 1})),
    ]
    for wrong in (*wrongs, request([[1, 2]]), request([[1, 2, 11]])):
        assert not asks.is_valid(wrong)
        status, found, _ = shared.ask("POST", INFER, wrong)
        assert status == 400
        _validator(document, "error").validate(found)
    for path, name in (("/v2", "server"), ("/v2/models/line", "model"), ("/v2/health/ready", "health"), ("/v2/health/live", "health")):  # fmt: skip
        _validator(document, name).validate(shared.ask("GET", path)[1])


def test_every_path_is_there(shared: Running, document: Any) -> None:
    for path, operations in document["paths"].items():
        for method in operations:
            assert shared.ask(method.upper(), path)[0] in {200, 400}, path


def test_several_inputs(tmp_path: Path, start: Start) -> None:
    place = tmp_path / "m" / "1.0.0" / "cpu"
    place.mkdir(parents=True)
    pair(place)
    server = start(place)
    document = server.ask("GET", "/openapi.json")[1]
    OpenAPIV31SpecValidator(document).validate()
    operation = document["paths"]["/v2/models/m/infer"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    asks = _validator(document, "request")
    asks.validate(example)
    assert not asks.is_valid({"inputs": example["inputs"][:1] * 2})
    found = server.ask("POST", "/v2/models/m/infer", example)[1]
    assert found == operation["responses"]["200"]["content"]["application/json"]["example"]
