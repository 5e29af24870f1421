"""Named arrays of a data set -> inputs of a model: matched by name, cast only where no value changes meaning."""

import json
from collections.abc import Callable, Iterator, Mapping
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
    found = f"{'text' if array.dtype.kind in 'OU' else array.dtype} {_shape(array.shape)}"
    cast = _cast(array, tensor.dtype) if _fits(array.shape, tensor.shape) else None
    if cast is None:
        raise fail(
            "MS508",
            f"the input {name!r} is {expected}, and the data is {found}",
            help=_fix(array.shape, tensor.shape),
        )
    return cast


def _fix(found: tuple[int, ...], wanted: tuple[int | str, ...]) -> str:
    step = wanted[0] if wanted and isinstance(wanted[0], int) else 0
    if found and step and len(found) == len(wanted) and _fits((step, *found[1:]), wanted):
        return f"the model takes {step} samples at once: give a multiple of them, for example samples: {step}"
    return "convert the data, or correct the signature"


def _fits(found: tuple[int, ...], wanted: tuple[int | str, ...]) -> bool:
    """Axis by axis; a model that takes a fixed number of samples is given any multiple of it, one call after the other."""
    if len(found) != len(wanted):
        return False
    equal = [isinstance(want, str) or want == size for want, size in zip(wanted, found, strict=True)]
    if not all(equal) and isinstance(wanted[0], int) and wanted[0] > 0:
        equal[0] = found[0] % wanted[0] == 0
    return all(equal)


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
    if array.dtype.kind == "f" and target.kind in "iu":
        # Numbers of a text file come as floats; as long as all are whole, nothing is lost.
        limits = np.iinfo(target)
        whole = np.isfinite(array).all() and (array == np.trunc(array)).all()
        fits = array.size == 0 or (whole and array.min() >= limits.min and array.max() <= limits.max)
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


def batch_size(signature: Signature, default: int) -> int:
    """Samples in one call: what the model is fixed to, else `default`."""
    first = [tensor.shape[0] for tensor in signature.inputs.values() if tensor.shape]
    return next((size for size in first if isinstance(size, int) and size > 0), default)


def answered(
    run: "Callable[[dict[str, NDArray[Any]]], Arrays]", inputs: "Arrays", size: int
) -> "dict[str, NDArray[Any]]":
    """The outputs for all samples, found batch by batch; without those that have no row for each sample."""
    import numpy as np

    calls = [(rows(batch), run(batch)) for batch in batches(inputs, size)]
    names = [n for n in calls[0][1] if all(found[n].ndim and len(found[n]) == count for count, found in calls)]
    return {name: np.concatenate([found[name] for _, found in calls]) for name in names}


def read_inputs(folder: Path, signature: Signature) -> "tuple[dict[str, NDArray[Any]], NDArray[Any] | None]":
    """The model's inputs, and the labels if the set has them, from the folder that `load` or `sample` wrote."""
    from modelspec.formats import npz

    said = json.loads((folder / "data.json").read_text())
    arrays, labels = npz.read(folder / "data.npz"), said["labels"]
    if said.get("text", "") is None and any(tensor.dtype == "string" for tensor in signature.inputs.values()):
        raise fail(
            "MS508",
            f"the data set holds no texts, and the model is asked in text; it has {_listed(arrays)}",
            help="give an array of strings; ready ids serve calibration and training alone",
        )
    mine = _side(arrays, signature, said["text"]) if said.get("text") else arrays
    return feed(mine, signature, labels), None if labels is None else arrays[labels]


def _side(arrays: "Arrays", signature: Signature, text: str) -> "Arrays":
    """Of a set that holds texts and their tokens: the texts for a model that is asked in text, else the tokens it takes."""
    from modelspec.runtime.processing import IDS, TENSORS

    if text in signature.inputs:
        return {name: array for name, array in arrays.items() if name not in TENSORS}
    if IDS not in signature.inputs:
        raise fail(
            "MS525",
            f"the model takes no {IDS!r}; its inputs are {_listed(signature.inputs)}",
            help=f"name its inputs in the signature: {', '.join(TENSORS)}",
        )
    fixed, found = signature.inputs[IDS].shape[-1:], arrays[IDS].shape[-1:]
    if fixed and isinstance(fixed[0], int) and fixed != found:
        raise fail(
            "MS525",
            f"the model takes {fixed[0]} tokens, always, and the longest of the texts has {found[0]}",
            help=f"write max_length: {fixed[0]} and padding: max_length",
            path=("tokenizer", "max_length"),
        )
    unused = {text, *TENSORS} - set(signature.inputs)
    return {name: array for name, array in arrays.items() if name not in unused}
