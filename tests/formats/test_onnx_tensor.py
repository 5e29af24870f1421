"""Tensors of ONNX models hold what they promise, in any field and of any type."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from modelspec.errors import ModelspecError
from modelspec.formats import onnx_model, onnx_tensor
from modelspec.formats.onnx_parts import parts


def holding(tensor: TensorProto) -> ModelProto:
    model = helper.make_model(helper.make_graph([], "graph", [], [], [tensor]))
    model.graph.initializer[0].name = "w"
    return model


def checked(tensor: TensorProto) -> None:
    onnx_tensor.check(parts(holding(tensor)))


def refused(tensor: TensorProto) -> str:
    with pytest.raises(ModelspecError) as caught:
        checked(tensor)
    (problem,) = caught.value.diagnostics
    assert problem.code == "MS613"
    return problem.message


TYPES = sorted(set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED, TensorProto.STRING})


@pytest.mark.parametrize("kind", TYPES, ids=[TensorProto.DataType.Name(kind) for kind in TYPES])
@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("dims", [[], [0], [1], [3], [5], [2, 3], [4, 0, 2]])
def test_what_the_library_makes_passes_and_one_more_or_less_does_not(kind: int, raw: bool, dims: list[int]) -> None:
    array = np.zeros(dims, helper.tensor_dtype_to_np_dtype(kind))
    tensor = numpy_helper.from_array(array) if raw else helper.make_tensor("w", kind, dims, array.ravel().tolist())
    assert tensor.data_type == kind
    checked(tensor)
    longer, shorter = TensorProto(), TensorProto()
    for changed in (longer, shorter):
        changed.CopyFrom(tensor)
    if raw or tensor.raw_data:
        longer.raw_data += b"\0"
        shorter.raw_data = shorter.raw_data[:-1]
    else:
        field = next(f for f in onnx_tensor._FIELDS if kind in onnx_tensor._FIELDS[f])
        getattr(longer, field).append(0)
        del getattr(shorter, field)[-1:]
    refused(longer)
    if array.size:
        refused(shorter)


def of(**fields: Any) -> TensorProto:
    tensor = TensorProto(data_type=TensorProto.FLOAT)
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(tensor, name).extend(value)
        else:
            setattr(tensor, name, value)
    return tensor


@pytest.mark.parametrize(("tensor", "words"), [
    (of(dims=[10**12]), "promises [1000000000000]"),
    (of(dims=[10**12], raw_data=bytes(8)), "promises"),
    (of(dims=[2**62, 4], raw_data=bytes(16)), "promises"),
    (of(dims=[2**32, 2**32], raw_data=b""), "promises"),
    (of(dims=[2**63 - 1] * 64), "promises"),
    (of(dims=[1] * 65, float_data=[1.0]), "has 65 dimensions"),
    (of(dims=[2**62] * 50_000), "has 50000 dimensions"),
    (of(dims=[-1], float_data=[1.0]), "negative dimension"),
    (of(dims=[-2, -2], raw_data=bytes(16)), "negative dimension"),
    (of(data_type=0, raw_data=bytes(4)), "unknown type 0"),
    (of(data_type=999, raw_data=bytes(4)), "unknown type 999"),
    (of(data_type=-1, raw_data=bytes(4)), "unknown type -1"),
    (of(dims=[1], float_data=[1.0], raw_data=bytes(4)), "twice"),
    (of(dims=[1], float_data=[1.0], int32_data=[1]), "twice"),
    (of(dims=[1], float_data=[1.0], raw_data=b""), "twice"),
    (of(dims=[1], int32_data=[1]), "promises"),
    (of(dims=[1], double_data=[1.0]), "promises"),
    (of(dims=[1], string_data=[b"x"]), "promises"),
    (of(data_type=TensorProto.STRING, dims=[2], raw_data=bytes(2)), "promises"),
    (of(data_type=TensorProto.STRING, dims=[2], string_data=[b"x"]), "promises"),
])  # fmt: skip
def test_promises_are_kept(tensor: TensorProto, words: str) -> None:
    assert words in refused(tensor)


def test_a_part_of_a_tensor_is_refused() -> None:
    tensor = of(dims=[1], float_data=[1.0])
    tensor.segment.begin = 0
    assert "part of another" in refused(tensor)


def test_text_passes() -> None:
    checked(of(data_type=TensorProto.STRING, dims=[2], string_data=[b"x", b""]))


@settings(max_examples=200, deadline=None)
@given(
    dims=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=70),
    kind=st.integers(-2, 40),
    raw=st.binary(max_size=64),
    floats=st.integers(0, 9),
    ints=st.integers(0, 9),
)
def test_whatever_a_tensor_says_the_answer_is_quick(
    dims: list[int], kind: int, raw: bytes, floats: int, ints: int
) -> None:
    """Passes only what NumPy then reads; anything else is MS613."""
    tensor = of(dims=dims, data_type=kind, raw_data=raw, float_data=[0.0] * floats, int32_data=[0] * ints)
    code = None
    try:
        checked(tensor)
    except ModelspecError as error:
        code = error.diagnostics[0].code
    assert code in {None, "MS613"}
    if code is None:
        assert numpy_helper.to_array(tensor).size == onnx_tensor.elements(tensor)


def sparse(change: Callable[[onnx.SparseTensorProto], object]) -> ModelProto:
    values = numpy_helper.from_array(np.ones(2, np.float32), "w")
    indices = numpy_helper.from_array(np.array([[0, 0], [1, 1]], np.int64), "i")
    made = helper.make_sparse_tensor(values, indices, [2, 2])
    change(made)
    graph = helper.make_graph([], "graph", [], [])
    graph.sparse_initializer.append(made)
    return helper.make_model(graph)


def _index(value: "np.ndarray[Any, Any]") -> Callable[[onnx.SparseTensorProto], object]:
    return lambda tensor: tensor.indices.CopyFrom(numpy_helper.from_array(value, "i"))


def _dims(*dims: int) -> Callable[[onnx.SparseTensorProto], object]:
    def change(tensor: onnx.SparseTensorProto) -> None:
        tensor.ClearField("dims")
        tensor.dims.extend(dims)

    return change


@pytest.mark.parametrize("change", [
    _dims(10**6, 10**6),
    _dims(2**62, 2**62),
    _dims(-2, -2),
    _dims(*([1] * 65)),
    _dims(2),
    _dims(1, 2),
    _index(np.array([[0, 0], [1, 2]], np.int64)),
    _index(np.array([[0, 0], [-1, 1]], np.int64)),
    _index(np.array([0, 4], np.int64)),
    _index(np.array([0, -1], np.int64)),
    _index(np.array([0, 1, 2], np.int64)),
    _index(np.array([[0], [1]], np.int64)),
    _index(np.array([[0, 0], [1, 1]], np.int32)),
])  # fmt: skip
def test_sparse_tensors_stay_inside_of_themselves(change: Callable[[Any], object], tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(sparse(change).SerializeToString())
    with pytest.raises(ModelspecError, match="MS613"):
        onnx_model.read(tmp_path / "model.onnx")


@pytest.mark.parametrize("change", [
    lambda tensor: None,
    _index(np.array([0, 3], np.int64)),
])  # fmt: skip
def test_sound_sparse_tensors_pass(change: Callable[[Any], object], tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(sparse(change).SerializeToString())
    onnx_model.read(tmp_path / "model.onnx")


def test_a_sparse_tensor_of_nothing_passes(tmp_path: Path) -> None:
    model = sparse(_index(np.zeros((0, 2), np.int64)))
    model.graph.sparse_initializer[0].values.CopyFrom(numpy_helper.from_array(np.zeros(0, np.float32), "w"))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    onnx_model.read(tmp_path / "model.onnx")
