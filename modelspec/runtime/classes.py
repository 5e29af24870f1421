"""Classes by name: the classification extension, as Triton has it and as its clients ask for it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelspec.runtime.artifact import Tensor
from modelspec.runtime.errors import RequestError

DATATYPE = "BYTES"


def is_offered(tensor: Tensor) -> bool:
    """Whether an output has a score for each of the classes that are named."""
    return bool(tensor.labels) and tensor.numpy.kind == "f" and tensor.shape[-1:] == (len(tensor.labels),)


def asked(tensor: Tensor, count: Any) -> int:
    """How many classes of an output are wanted. Raises RequestError where it has none, or the number is none."""
    if not tensor.labels:
        raise RequestError(400, f"output {tensor.name!r} has no class names; ask for the output itself")
    if not is_offered(tensor):
        raise RequestError(400, f"output {tensor.name!r} has no score for each class; ask for the output itself")
    if type(count) is not int or count < 1:
        raise RequestError(400, "classification must be a whole number from 1: how many classes are wanted")
    return min(count, len(tensor.labels))


def top(array: NDArray[Any], labels: tuple[str, ...], count: int) -> NDArray[Any]:
    """`score:index:name` of the classes with the largest scores, the largest first, along the last axis."""
    rows = array.reshape(-1, len(labels))
    best = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :count]
    found = np.empty(best.shape, dtype=object)
    for row, places in enumerate(best.tolist()):
        found[row] = [f"{rows[row, place]:f}:{place}:{labels[place]}" for place in places]
    return found.reshape(*array.shape[:-1], count)
