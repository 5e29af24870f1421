"""Named arrays of a data set -> inputs of a model: matched by name, cast only where no value changes meaning."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelspec.errors import fail
from modelspec.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, "NDArray[Any]"]


def feed(arrays: "Arrays", signature: Signature, labels: str | None) -> "dict[str, NDArray[Any]]":
    """The model's inputs, in its order. A single unlabelled array is matched by position; what is left over is MS508."""
    found = {name: array for name, array in arrays.items() if name != labels}
    inputs = signature.inputs
    if len(found) == len(inputs) == 1:
        found = dict(zip(inputs, found.values(), strict=True))
    if missing := [name for name in inputs if name not in found]:
        raise fail(
            "MS508",
            f"the data set has no array for the input {missing[0]!r}; it has {_listed(found)}",
            help="name the arrays as the model's inputs",
        )
    if extra := [name for name in found if name not in inputs]:
        raise fail(
            "MS508",
            f"the array {extra[0]!r} matches no input of the model; its inputs are {_listed(inputs)}",
            help="remove the array, or name it in `labels`",
        )
    return {name: _fitted(name, found[name], tensor) for name, tensor in inputs.items()}


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(repr(name) for name in names) or "none"


def _fitted(name: str, array: "NDArray[Any]", tensor: TensorSpec) -> "NDArray[Any]":
    expected = f"{tensor.dtype} {_shape(tensor.shape)}"
    found = f"{array.dtype} {_shape(array.shape)}"
    fits = array.ndim == len(tensor.shape) and all(
        isinstance(want, str) or want == size for want, size in zip(tensor.shape, array.shape, strict=True)
    )
    cast = _cast(array, tensor.dtype) if fits else None
    if cast is None:
        raise fail(
            "MS508",
            f"the input {name!r} is {expected}, and the data is {found}",
            help="convert the data, or correct the signature",
        )
    return cast


def _shape(shape: tuple[int | str, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _cast(array: "NDArray[Any]", dtype: str) -> "NDArray[Any] | None":
    """The array with another element type, or None where values would be lost."""
    import numpy as np

    if dtype == "string":
        return array.astype(object) if array.dtype.kind in "US" else None
    target = np.dtype(dtype)
    if array.dtype == target:
        return array
    if array.dtype.kind in "iub" and target.kind in "iu":
        limits = np.iinfo(target)
        fits = array.size == 0 or (int(array.min()) >= limits.min and int(array.max()) <= limits.max)
        return array.astype(target) if fits else None
    return array.astype(target) if np.can_cast(array.dtype, target, "same_kind") else None


def rows(inputs: "Arrays") -> int:
    """How many samples there are: the length of the first axis that all inputs share; 1 for scalars."""
    sizes = {array.shape[0] if array.ndim else 1 for array in inputs.values()}
    return min(sizes, default=0)


def batches(inputs: "Arrays", size: int) -> "Iterator[dict[str, NDArray[Any]]]":
    """Slices of `size` samples, in order; the last may be shorter."""
    for start in range(0, rows(inputs), size):
        yield {name: array[start : start + size] for name, array in inputs.items()}


def read_inputs(folder: Path, signature: Signature) -> "tuple[dict[str, NDArray[Any]], NDArray[Any] | None]":
    """The model's inputs, and the labels if the set has them, from the folder that `load` or `sample` wrote."""
    from modelspec.formats import npz

    labels = json.loads((folder / "data.json").read_text())["labels"]
    arrays = npz.read(folder / "data.npz")
    return feed(arrays, signature, labels), None if labels is None else arrays[labels]
