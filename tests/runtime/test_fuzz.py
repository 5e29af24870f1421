"""Whatever JSON comes, and whatever bytes come after it: an answer, and never a failure of the server."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.runtime.conftest import Running

INFER = "/v2/models/line/infer"
BOUNDED = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
sizes = st.lists(st.integers(-2, 4), max_size=3) | st.just([2, 3]) | anything
numbers = st.lists(st.floats(-1, 11) | st.integers(-1, 11), min_size=6, max_size=6) | anything
parameters = st.dictionaries(st.sampled_from(["binary_data", "binary_data_size", "classification", "a"]), scalars)


def fields(**kinds: Any) -> Any:
    """An object with some of these, and sometimes more."""
    return st.fixed_dictionaries({}, optional={**kinds, "more": st.just(1)})


tensors = st.fixed_dictionaries(
    {
        "name": st.just("x") | st.text(max_size=3),
        "shape": sizes,
        "datatype": st.sampled_from(["FP32", "FP64", "BYTES", 1]),
    },
    optional={"data": numbers, "parameters": parameters | anything},
)
requests = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=2) | anything},
    optional={
        "id": st.text(max_size=5) | anything,
        "parameters": parameters | anything,
        "outputs": st.lists(fields(name=st.sampled_from(["y", "z"]), parameters=parameters), max_size=2) | anything,
    },
)


def judge(server: Running, body: bytes, headers: dict[str, str] | None = None) -> None:
    """200 with the outputs or 4xx with a reason."""
    status, found, _ = server.ask("POST", INFER, body, headers)
    assert status in {200, 400, 413}, (status, found)
    assert isinstance(found, bytes) or ("outputs" in found) == (status == 200)


@BOUNDED
@given(body=requests | anything)
def test_any_json(shared: Running, body: Any) -> None:
    judge(shared, json.dumps(body).encode())


@BOUNDED
@given(body=requests, tail=st.binary(max_size=40), off=st.integers(-3, 3))
def test_any_bytes_after_it(shared: Running, body: Any, tail: bytes, off: int) -> None:
    head = json.dumps(body).encode()
    judge(shared, head + tail, {"Inference-Header-Content-Length": str(len(head) + off)})


@BOUNDED
@given(body=st.binary(max_size=60))
def test_any_bytes(shared: Running, body: bytes) -> None:
    judge(shared, body)
