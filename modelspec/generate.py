"""Inputs made from a signature alone, seeded: for models that come without data."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from modelspec.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

AXIS_SIZES = (4, 7, 5, 6, 3)
"""Sizes for dynamic axes, different so that a transposed axis cannot pass; never 1, which broadcasts."""


def candidates(signature: Signature) -> "Iterator[dict[str, NDArray[Any]]]":
    """Inputs to try in turn: random ones, then all ones, then all zeros, which index-like inputs often need."""
    import numpy as np

    names = dict.fromkeys(axis for t in signature.inputs.values() for axis in t.shape if isinstance(axis, str))
    for sizes in (AXIS_SIZES, (2, 2, 2), (1, 1, 1)):
        axes = {name: sizes[index % len(sizes)] for index, name in enumerate(names)}
        for kind in ("random", "ones", "zeros"):
            random = np.random.default_rng(0)
            yield {name: _array(tensor, axes, kind, random) for name, tensor in signature.inputs.items()}
        if not names:
            return


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
