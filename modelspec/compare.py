"""Compares outputs of two models: numbers within a tolerance, everything else exactly."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Difference:
    """How one output differs."""

    name: str
    mismatched: int
    """Elements outside the tolerance."""
    total: int
    max_abs: float
    max_rel: float
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    numbers: bool = True
    """Whether they were compared within a tolerance: neither text nor arrays of different shapes are."""

    def words(self, other: str) -> str:
        """What differs from `other`, as a clause: the shape, or how many values and by how much."""
        expected, found = (str(list(shape)) for shape in self.shapes)
        if expected != found:
            return f"{self.name!r} has the shape {found}, and {expected} in {other}"
        by = f", by up to {self.max_abs:.3g}" if self.numbers else ""
        return f"{self.mismatched} of {self.total} values of {self.name!r} differ from {other}{by}"


@dataclass(frozen=True)
class Comparison:
    """All outputs, compared."""

    outputs: tuple[Difference, ...]
    missing: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.missing and all(output.mismatched == 0 for output in self.outputs)


def compare(
    expected: "Mapping[str, NDArray[Any]]", actual: "Mapping[str, NDArray[Any]]", rtol: float, atol: float
) -> Comparison:
    """Element by element: |actual - expected| <= atol + rtol * |expected| as numpy.isclose has it; NaN equals NaN."""
    missing = tuple(sorted(set(expected) - set(actual)))
    pairs = [(name, expected[name], actual[name]) for name in expected if name in actual]
    return Comparison(tuple(_one(name, a, b, rtol, atol) for name, a, b in pairs), missing)


def _one(name: str, expected: "NDArray[Any]", actual: "NDArray[Any]", rtol: float, atol: float) -> Difference:
    import numpy as np

    shapes = (expected.shape, actual.shape)
    if expected.shape != actual.shape:
        return Difference(
            name,
            max(expected.size, actual.size, 1),
            max(expected.size, actual.size),
            np.inf,
            np.inf,
            shapes,
            numbers=False,
        )
    if expected.dtype.kind not in "fc" or actual.dtype.kind not in "fc":
        wrong = int((np.asarray(expected) != np.asarray(actual)).sum())
        return Difference(name, wrong, expected.size, float(wrong > 0), float(wrong > 0), shapes, numbers=False)
    a, b = expected.astype(np.float64), actual.astype(np.float64)
    close = np.isclose(b, a, rtol=rtol, atol=atol, equal_nan=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = np.where(a == b, 0.0, np.abs(a - b))
        relative = np.where(gap == 0, 0.0, gap / np.abs(a))
    largest = [
        float(np.nan_to_num(x, nan=np.inf if not close.all() else 0.0).max(initial=0.0)) for x in (gap, relative)
    ]
    return Difference(name, int((~close).sum()), a.size, largest[0], largest[1], shapes)
