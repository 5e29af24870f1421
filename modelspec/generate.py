"""Inputs made from a signature alone, seeded: for models that come without data."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from modelspec.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

AXIS_SIZES = (4, 7, 5, 6, 3)
"""Sizes for dynamic axes, different so that a transposed axis cannot pass; never 1, which broadcasts."""


SCALES = (1, 4, 32)
"""Factors of all dynamic axes but the first, the batch: convolutions and poolings need a certain size."""

MAX_VALUES = 2**26
"""Elements of an input, beyond which a size is not tried."""


def scaled(signature: Signature, sizes: Sequence[int], scale: int) -> dict[str, int]:
    """A size for each dynamic axis of the inputs."""
    names = dict.fromkeys(axis for t in signature.inputs.values() for axis in t.shape if isinstance(axis, str))
    return {name: sizes[i % len(sizes)] * (scale if i else 1) for i, name in enumerate(names)}


def candidates(signature: Signature) -> "Iterator[dict[str, NDArray[Any]]]":
    """Inputs to try in turn: random ones, then all ones, then all zeros, which indices without a range often need."""
    import numpy as np

    indices = [tensor for tensor in signature.inputs.values() if "int" in tensor.dtype]
    sure = bool(indices) and all(tensor.range for tensor in indices)
    kinds = ("random",) if sure else ("random", "ones", "zeros")
    for axes in _sizes(signature):
        for kind in kinds:
            random = np.random.default_rng(0)
            yield {name: _array(tensor, axes, kind, random) for name, tensor in signature.inputs.items()}


def _sizes(signature: Signature) -> Iterator[dict[str, int]]:
    plain = scaled(signature, AXIS_SIZES, 1)
    wanted = [plain, dict.fromkeys(plain, 2), dict.fromkeys(plain, 1)]
    wanted += [scaled(signature, AXIS_SIZES, scale) for scale in SCALES[1:]]
    tried: list[dict[str, int]] = []
    for axes in wanted:
        shapes = [[axes.get(str(axis), axis) for axis in t.shape] for t in signature.inputs.values()]
        if axes not in tried and all(math.prod(map(int, shape)) <= MAX_VALUES for shape in shapes):
            tried.append(axes)
            yield axes


def _array(tensor: TensorSpec, axes: dict[str, int], kind: str, random: "Generator") -> "NDArray[Any]":
    import numpy as np

    shape = tuple(axes[axis] if isinstance(axis, str) else axis for axis in tensor.shape)
    if tensor.dtype == "string":
        return np.full(shape, "a" if kind != "zeros" else "", dtype=object)
    dtype = np.dtype(tensor.dtype)
    if kind != "random":
        low, high = tensor.range or (0, 1)
        return np.full(shape, max(low, min(high, 1 if kind == "ones" else 0)), dtype=dtype)
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        low, high = tensor.range or (0, 1)
        return random.integers(int(low), int(high), shape, endpoint=True).astype(dtype)
    values = random.normal(size=shape) if tensor.range is None else random.uniform(*tensor.range, size=shape)
    return np.asarray(values, dtype=dtype)
