"""Tensors as JSON and as bytes, to numpy and back. What does not fit exactly is refused, never rounded into place."""

import math
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelspec.runtime.artifact import Tensor
from modelspec.runtime.checks import whole
from modelspec.runtime.errors import RequestError

_JSON_TYPES: dict[str, tuple[frozenset[type], str]] = {
    "b": (frozenset({bool}), "true or false"),
    "i": (frozenset({int}), "whole numbers"),
    "u": (frozenset({int}), "whole numbers, not negative"),
    "f": (frozenset({int, float}), "numbers"),
    "O": (frozenset({str}), "strings"),
}
_LENGTH = struct.Struct("<I")


def from_json(tensor: Tensor, data: Any, shape: Sequence[int]) -> NDArray[Any]:
    """Nested or flat lists, in row-major order, into an array of the shape."""
    flat = _flat(tensor, data, shape)
    kinds, words = _JSON_TYPES[tensor.numpy.kind]
    if tensor.numpy.kind in "iu" and float in map(type, flat):
        flat = [whole(value) for value in flat]
    if not kinds.issuperset(map(type, flat)):
        raise RequestError(400, f"input {tensor.name!r} holds something else than {words}; expected {tensor}")
    try:
        with np.errstate(over="raise"):
            array = np.array(flat, dtype=tensor.numpy)
    except (OverflowError, FloatingPointError):
        raise RequestError(400, f"a number in input {tensor.name!r} does not fit into {tensor.datatype}") from None
    return array.reshape(shape)


def _flat(tensor: Tensor, data: Any, shape: Sequence[int]) -> list[Any]:
    count = math.prod(shape)
    if not isinstance(data, list):
        raise RequestError(400, f"the data of input {tensor.name!r} must be a list; expected {tensor}")
    if not (data and isinstance(data[0], list)):
        if len(data) != count:
            raise RequestError(400, f"input {tensor.name!r} holds {len(data)} elements, and its shape {list(shape)} has {count}")  # fmt: skip
        return data
    level, rest = [data], list(shape)
    while rest:
        size = rest.pop(0)
        if any(type(part) is not list or len(part) != size for part in level):
            raise RequestError(400, f"the lists of input {tensor.name!r} do not have its shape {list(shape)}")
        level = list(chain.from_iterable(level))
    return level


def from_bytes(tensor: Tensor, raw: memoryview, shape: Sequence[int]) -> NDArray[Any]:
    """Little-endian elements, in row-major order, into an array of the shape."""
    count = math.prod(shape)
    if tensor.dtype == "string":
        return _texts(tensor, raw, count).reshape(shape)
    size = tensor.numpy.itemsize
    if len(raw) != count * size:
        raise RequestError(400, f"input {tensor.name!r} has {len(raw)} bytes; {list(shape)} of {tensor.datatype} has {count * size}")  # fmt: skip
    array = np.frombuffer(raw, dtype=tensor.numpy.newbyteorder("<"))
    if tensor.dtype == "bool" and array.size and array.view(np.uint8).max() > 1:
        raise RequestError(400, f"input {tensor.name!r} holds bytes that are neither 0 nor 1")
    return array.astype(tensor.numpy, copy=False).reshape(shape)


def _texts(tensor: Tensor, raw: memoryview, count: int) -> NDArray[Any]:
    found: list[str] = []
    at = 0
    try:
        while at < len(raw) and len(found) <= count:
            (length,) = _LENGTH.unpack_from(raw, at)
            at += 4 + length
            # A length that leads past the end ends the loop, and is refused below.
            found.append(str(raw[at - length : at], "utf-8"))
    except (struct.error, ValueError):
        raise RequestError(400, f"input {tensor.name!r} is not pairs of a length of 4 bytes and UTF-8 text") from None
    if len(found) != count or at != len(raw):
        raise RequestError(400, f"input {tensor.name!r} does not hold the {count} texts of its shape")
    array = np.empty(count, dtype=object)
    array[:] = found
    return array


def to_json(array: NDArray[Any], name: str) -> Any:
    """A flat list, or the array itself where the JSON writer takes it. JSON has no NaN: then the answer fails."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise RequestError(500, f"output {name!r} holds NaN or infinity, which JSON cannot carry; ask for binary_data")
    flat = np.ascontiguousarray(array).reshape(-1)
    return [_text(value) for value in flat] if array.dtype.kind in "OU" else flat


def to_bytes(array: NDArray[Any]) -> bytes:
    """Little-endian elements in row-major order; text with its length before it."""
    if array.dtype.kind not in "OU":
        return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
    texts = [_text(value).encode() for value in array.reshape(-1)]
    return b"".join(chain.from_iterable((_LENGTH.pack(len(text)), text) for text in texts))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
