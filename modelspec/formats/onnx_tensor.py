"""Tensors of an ONNX model: each holds exactly what its type and dimensions promise, before anything makes room for it."""

import math
from typing import TYPE_CHECKING, Any

from modelspec.errors import ModelspecError, fail
from modelspec.formats.onnx_parts import Parts, shown

if TYPE_CHECKING:
    from onnx import SparseTensorProto, TensorProto

MAX_RANK = 64
"""As many as NumPy has; the product of more could take long to compute."""

MAX_DENSE = 2**31
"""What a sparse tensor may come to when it is written out: nothing in the file backs it."""

STRING = 8
_BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
    17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2, 27: 6, 28: 6,
}  # fmt: skip
"""Bits of an element, by the number of its type: that of the format, whatever this release of the library knows."""

_FIELDS: dict[str, dict[int, tuple[int, int]]] = {
    "float_data": {1: (1, 1), 14: (2, 1)},
    "double_data": {11: (1, 1), 15: (2, 1)},
    "int64_data": {7: (1, 1)},
    "uint64_data": {12: (1, 1), 13: (1, 1)},
    "string_data": {STRING: (1, 1)},
    "int32_data": dict.fromkeys((2, 3, 4, 5, 6, 9, 10, 16, 17, 18, 19, 20, 24, 27, 28), (1, 1))
    | dict.fromkeys((21, 22, 23), (1, 2))
    | dict.fromkeys((25, 26), (1, 4)),
}
"""The field of each type when it is not `raw_data`, and how many values of the field stand for how many elements."""


def check(parts: Parts) -> None:
    """Raises MS613 for the first tensor that is not what it says. External data is looked at elsewhere."""
    for tensor in parts.tensors:
        _check_tensor(tensor)
    for sparse in parts.sparse:
        _check_sparse(sparse)


def _unsafe(tensor: "TensorProto", what: str) -> ModelspecError:
    return fail("MS613", f"the tensor {shown(tensor.name)} {what}", help="export the model again")


def elements(tensor: "TensorProto") -> int:
    """How many there are."""
    return math.prod(tensor.dims)


def size(tensor: "TensorProto") -> int:
    """The bytes that the elements take in a file."""
    return (elements(tensor) * _BITS[tensor.data_type] + 7) // 8


def _check_tensor(tensor: "TensorProto") -> None:
    set_ = {field.name: value for field, value in tensor.ListFields()}
    dims = set_.get("dims", ())
    if len(dims) > MAX_RANK:
        raise _unsafe(tensor, f"has {len(dims)} dimensions")
    if dims and min(dims) < 0:
        raise _unsafe(tensor, "has a negative dimension")
    if tensor.data_type not in _BITS and tensor.data_type != STRING:
        raise _unsafe(tensor, f"has elements of the unknown type {tensor.data_type}")
    if "segment" in set_:
        raise _unsafe(tensor, "is a part of another one")
    typed = [field for field in _FIELDS if field in set_]
    raw, external = len(set_.get("raw_data", b"")), is_external(tensor)
    # Numpy's reader takes raw_data wherever it is set, empty or not; writers leave it empty beside external data.
    if (raw > 0 or (bool(typed) and "raw_data" in set_)) + len(typed) + external > 1:
        raise _unsafe(tensor, "holds its elements twice")
    if external and tensor.data_type == STRING:
        raise _unsafe(tensor, "has text as external data")
    if "external_data" in set_ and not external:
        raise _unsafe(tensor, "names external data and holds its own")
    if not external and not _holds(tensor, raw, typed, set_):
        raise _unsafe(tensor, f"promises {list(dims)} and does not hold it")


def _holds(tensor: "TensorProto", raw: int, typed: list[str], set_: dict[str, Any]) -> bool:
    """Whether the one field that is set has as many elements as the dimensions say."""
    if raw:
        return tensor.data_type != STRING and raw == size(tensor)
    if not typed:
        return elements(tensor) == 0
    values, of = _FIELDS[typed[0]].get(tensor.data_type, (0, 1))
    return values > 0 and len(set_[typed[0]]) == -(-elements(tensor) * values // of)


def is_external(tensor: "TensorProto") -> bool:
    """Whether the elements are in another file."""
    return tensor.data_location == 1


def _check_sparse(sparse: "SparseTensorProto") -> None:
    values, indices = sparse.values, sparse.indices
    count, rank = elements(values), len(sparse.dims)
    if rank > MAX_RANK or any(length < 0 for length in sparse.dims):
        raise _unsafe(values, "has impossible dimensions")
    if math.prod(sparse.dims) * _BITS.get(values.data_type, 8) // 8 > MAX_DENSE:
        raise _unsafe(values, f"would fill {list(sparse.dims)}")
    if indices.data_type != 7 or list(indices.dims) not in ([count], [count, rank]) or len(values.dims) != 1:
        raise _unsafe(values, "has indices that do not fit its values")


def check_indices(parts: Parts) -> None:
    """Raises MS613 when the indices of a sparse tensor lead out of it. All data must be in memory."""
    import numpy as np
    from onnx import numpy_helper

    for sparse in parts.sparse:
        indices = numpy_helper.to_array(sparse.indices)
        ends = np.array([math.prod(sparse.dims)] if indices.ndim == 1 else list(sparse.dims), np.int64)
        columns = indices if indices.ndim == 2 else indices[:, None]
        if ((columns < 0) | (columns >= ends)).any():
            raise _unsafe(sparse.values, "has indices that lead out of it")
