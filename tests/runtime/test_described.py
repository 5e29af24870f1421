"""What the OpenAPI document calls valid is accepted. It cannot say that a shape fits its data; that is put right first."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.runtime.conftest import Running, publish, starter

_TYPES = {
    "flag": (TensorProto.BOOL, "bool", None), "byte": (TensorProto.UINT8, "uint8", None),
    "whole": (TensorProto.INT64, "int64", None), "half": (TensorProto.FLOAT16, "float16", None),
    "bounded": (TensorProto.FLOAT, "float32", [-0.1, 0.3]), "double": (TensorProto.DOUBLE, "float64", None),
    "text": (TensorProto.STRING, "string", None),
}  # fmt: skip


def every_type(folder: Path) -> Path:
    """A model that hands through a tensor of each kind: `[n, 2]`."""
    place = folder / "every" / "1.0.0" / "cpu"
    place.mkdir(parents=True)
    sides: dict[str, list[Any]] = {"inputs": [], "outputs": []}
    nodes, values, golden = [], [], ({}, {})  # type: ignore[var-annotated]
    for name, (kind, dtype, limits) in _TYPES.items():
        values.append([helper.make_tensor_value_info(each, kind, ["n", 2]) for each in (name, f"{name}_out")])
        nodes.append(helper.make_node("Identity", [name], [f"{name}_out"]))
        tensor = {"dtype": dtype, "shape": ["n", 2]}
        sides["inputs"].append({"name": name, **tensor, **({"range": limits} if limits else {})})
        sides["outputs"].append({"name": f"{name}_out", **tensor})
        zeros = np.full((1, 2), "a") if dtype == "string" else np.zeros((1, 2), dtype)
        golden[0][name] = golden[1][f"{name}_out"] = zeros
    graph = helper.make_graph(nodes, "every", [side[0] for side in values], [side[1] for side in values])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, place / "model.onnx")
    publish(place, sides, golden)
    return place


def values(schema: Any, size: int | None = None) -> st.SearchStrategy[Any]:
    """What a schema of the document allows; lists of `size`, where it leaves that open."""
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if ways := schema.get("anyOf") or schema.get("oneOf"):
        return st.one_of([values(each, size) for each in ways])
    kinds: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
        "boolean": st.booleans,
        "string": lambda: st.text(max_size=schema.get("maxLength", 20)),
        "integer": lambda: _integers(schema),
        "number": lambda: _numbers(schema),
        "array": lambda: _lists(schema, size),
        "object": lambda: _objects(schema, size),
    }
    named = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return st.one_of([kinds[name]() for name in named])


def _integers(schema: Any) -> st.SearchStrategy[Any]:
    """JSON has one kind of number: 2.0 is an integer too."""
    low, high = schema.get("minimum"), schema.get("maximum")
    ints = st.integers(low, high)
    if low is None or high is None:
        return ints
    return ints | st.integers(max(low, -(2**53)), min(high, 2**53)).map(float)


def _numbers(schema: Any) -> st.SearchStrategy[Any]:
    low, high = schema.get("minimum"), schema.get("maximum")
    floats = st.floats(low, high, allow_nan=False, allow_infinity=False)
    edges = [each for each in (low, high) if each is not None]
    return floats | st.sampled_from(edges) if edges else floats


def _lists(schema: Any, size: int | None) -> st.SearchStrategy[Any]:
    if "prefixItems" in schema:
        return st.tuples(*(values(each) for each in schema["prefixItems"])).map(list)
    most = schema.get("maxItems", 3 if size is None else size)
    least = schema.get("minItems", 0 if size is None else size)
    return st.lists(values(schema["items"]), min_size=least, max_size=most)


def _objects(schema: Any, size: int | None) -> st.SearchStrategy[Any]:
    known = {name: values(each, size) for name, each in schema["properties"].items() if each is not False}
    needed = {name: known.pop(name) for name in schema.get("required", ())}
    fixed = st.fixed_dictionaries(needed, optional=known)
    if not schema.get("additionalProperties"):
        return fixed
    free = st.dictionaries(st.text(max_size=20), values(schema["additionalProperties"]), max_size=4)
    return st.builds(
        lambda more, own: {**{k: v for k, v in more.items() if k not in schema["properties"]}, **own}, free, fixed
    )


def requests(document: Any) -> st.SearchStrategy[Any]:
    """Requests that the document calls valid, and whose shapes are those of their data."""
    schema = document["components"]["schemas"]["request"]
    kinds = schema["properties"]["inputs"]["items"]["oneOf"]
    others = {name: each for name, each in schema["properties"].items() if name != "inputs"}

    @st.composite
    def drawn(draw: st.DrawFn) -> Any:
        rows, inputs = draw(st.integers(1, 3)), []
        for kind in draw(st.permutations(kinds)):
            width = kind["properties"]["shape"]["prefixItems"][1]["const"]
            flat, nested = kind["properties"]["data"]["anyOf"]
            form = draw(st.sampled_from([(flat, rows * width), (nested, rows)]))
            fitting = {**kind, "properties": {**kind["properties"], "data": {"const": draw(values(*form))}}}
            tensor = draw(values(fitting))
            inputs.append({**tensor, "shape": draw(st.sampled_from([[rows, width], [float(rows), float(width)]]))})
        return {**draw(values({**schema, "properties": others, "required": []})), "inputs": inputs}

    return drawn().filter(jsonschema.Draft202012Validator(schema).is_valid)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Any:
    for begin in starter():
        yield begin(every_type(tmp_path_factory.mktemp("every")))


def check(server: Running, examples: int) -> None:
    document = server.ask("GET", "/openapi.json")[1]
    answers = {"$ref": "#/components/schemas/response", "components": document["components"]}
    judge = jsonschema.Draft202012Validator(answers)
    seen: list[int] = []

    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(request=requests(document))
    def accepted(request: Any) -> None:
        status, found, _ = server.ask("POST", "/v2/models/every/infer", json.dumps(request).encode())
        assert status == 200, found
        seen.append(math.prod(map(int, request["inputs"][0]["shape"])))
        if isinstance(found, dict):
            judge.validate(found)

    accepted()
    assert max(seen) > min(seen)


def test_what_is_called_valid_is_accepted(every: Running) -> None:
    check(every, 60)


@pytest.mark.long
def test_five_thousand_times(every: Running) -> None:
    check(every, 5000)
