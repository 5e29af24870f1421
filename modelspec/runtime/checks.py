"""What an input must satisfy before the model is touched; a refusal says what was expected."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelspec.runtime.artifact import Arrays, Tensor
from modelspec.runtime.errors import RequestError

_EXACT = 2**53


class OutOfRangeError(RequestError):
    """An input has values outside the range of the signature."""

    def __init__(self, tensor: Tensor, found: tuple[Any, Any]) -> None:
        assert tensor.range is not None
        super().__init__(400, f"input {tensor.name!r} goes from {found[0]:g} to {found[1]:g}; expected {tensor}")
        self.input = tensor.name


def names(found: Sequence[str], expected: Mapping[str, Tensor]) -> None:
    """Every input once, and no other."""
    wanted = "; ".join(map(str, expected.values()))
    for name in found:
        if name not in expected:
            raise RequestError(400, f"the model has no input {name[:100]!r}; expected {wanted}")
    if len(set(found)) != len(found):
        raise RequestError(400, f"an input is given twice; expected {wanted}")
    if missing := [tensor for name, tensor in expected.items() if name not in found]:
        raise RequestError(400, f"input {missing[0].name!r} is missing; expected {wanted}")


def whole(value: Any) -> Any:
    """A number as an int, where it is one: to JSON 2.0 is the integer 2, up to where a float tells every one of them."""
    exact = type(value) is float and value.is_integer() and abs(value) <= _EXACT
    return int(value) if exact else value


def shape(tensor: Tensor, datatype: object, sizes: object, limit: int) -> tuple[int, ...]:
    """The shape, when it and the element type are the tensor's and it is not too large."""
    if datatype != tensor.datatype:
        raise RequestError(400, f"input {tensor.name!r} has the datatype {str(datatype)[:20]!r}; expected {tensor}")
    if isinstance(sizes, list) and float in map(type, sizes):
        sizes = [whole(size) for size in sizes]
    if not isinstance(sizes, list) or any(type(size) is not int or size < 1 for size in sizes):
        raise RequestError(400, f"the shape of input {tensor.name!r} must be a list of whole numbers from 1; expected {tensor}")  # fmt: skip
    fits = len(sizes) == len(tensor.shape) and all(
        isinstance(wanted, str) or size == wanted for size, wanted in zip(sizes, tensor.shape, strict=True)
    )
    if not fits:
        raise RequestError(400, f"input {tensor.name!r} has the shape {str(sizes)[:100]}; expected {tensor}")
    if math.prod(sizes) * tensor.weight > limit:
        raise RequestError(413, f"the inputs have more than {limit} elements; send fewer at a time")
    return tuple(sizes)


def values(inputs: Arrays, expected: Mapping[str, Tensor], *, allow_nan: bool, max_text: int) -> None:
    """Equal sizes where axes have one name, finite numbers, values in range, texts that are not too long."""
    axes: dict[str, int] = {}
    for name, array in inputs.items():
        tensor = expected[name]
        for axis, size in zip(tensor.shape, array.shape, strict=True):
            if isinstance(axis, str) and axes.setdefault(axis, size) != size:
                raise RequestError(400, f"the axis {axis!r} is {size} in input {name!r} and {axes[axis]} in another")
        if array.dtype.kind == "f" and not allow_nan and not np.isfinite(array).all():
            raise RequestError(400, f"input {name!r} holds NaN or infinity; expected finite numbers: {tensor}")
        if array.dtype.kind == "O" and (longest := max(map(len, array.flat))) > max_text:
            raise RequestError(413, f"a text in input {name!r} has {longest} characters, and at most {max_text} are taken")  # fmt: skip
        if tensor.range:
            _in_range(tensor, array, tensor.range)


def _in_range(tensor: Tensor, array: NDArray[Any], limits: tuple[float, float]) -> None:
    # In the precision of the array: 0.1 as a float32 is a little more than 0.1.
    low, high = (array.dtype.type(limit) if array.dtype.kind == "f" else limit for limit in limits)
    least, most = array.min(), array.max()
    if np.isnan(least):  # allowed, and in no range
        least, most = np.nanmin(array), np.nanmax(array)
    if least < low or most > high:
        raise OutOfRangeError(tensor, (least, most))
