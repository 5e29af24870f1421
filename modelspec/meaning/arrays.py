"""Compares named arrays: bit by bit, and by the largest distance of their numbers."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from modelspec.meaning.verdict import Finding, Tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Arrays = Mapping[str, Array]


def same_bits(old: "Array", new: "Array") -> bool:
    """Whether two arrays have the same type, shape and bytes."""
    if old.dtype != new.dtype or old.shape != new.shape:
        return False
    return bool((old == new).all()) if old.dtype.kind == "O" else old.tobytes() == new.tobytes()


def findings(kind: str, old: "Arrays", new: "Arrays") -> Iterator[Finding]:
    """One finding for each name whose arrays are not the same bits."""
    for name in sorted({*old, *new}):
        if name not in old or name not in new:
            yield Finding(kind, name, "is not in the rebuilt file" if name in old else "is only in the rebuilt file")
        elif not same_bits(old[name], new[name]):
            yield _finding(kind, name, old[name], new[name])


def _finding(kind: str, name: str, old: "Array", new: "Array") -> Finding:
    if old.dtype != new.dtype or old.shape != new.shape:
        shapes = (f"{array.dtype} {list(array.shape)}" for array in (old, new))
        return Finding(kind, name, " -> ".join(shapes))
    a, b = _numbers(old), _numbers(new)
    if a is None or b is None:
        return Finding(kind, name, f"{int((old != new).sum())} of {old.size} values differ")
    gap = _largest_gap(a, b)
    count = int((_bits(old) != _bits(new)).any(axis=-1).sum())
    size = "by something that is no number" if gap is None else f"by up to {gap:.3g}"
    return Finding(kind, name, f"{count} of {old.size} values differ, {size}", gap)


def _bits(array: "Array") -> "Array":
    import numpy as np

    return np.ascontiguousarray(array).reshape(-1, 1).view(np.uint8).reshape(array.size, -1)


def _numbers(array: "Array") -> "Array | None":
    """The array in double precision; None where it holds text."""
    import numpy as np

    return None if array.dtype.kind in "SUO" else array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _largest_gap(old: "Array", new: "Array") -> float | None:
    import numpy as np

    with np.errstate(invalid="ignore"):
        gaps = np.where((old == new) | (np.isnan(old) & np.isnan(new)), 0.0, np.abs(new - old))
    largest = float(gaps.max(initial=0.0))
    return largest if np.isfinite(largest) else None


def all_close(old: "Arrays", new: "Arrays", tolerance: Tolerance) -> bool:
    """Whether both have the same names, types and shapes, and numbers within the tolerance; integers may be one apart."""
    import numpy as np

    if old.keys() != new.keys():
        return False
    for name, array in old.items():
        other = new[name]
        if array.dtype != other.dtype or array.shape != other.shape:
            return False
        a, b = _numbers(array), _numbers(other)
        if a is None or b is None:
            if (array != other).any():
                return False
            continue
        atol = max(tolerance.atol, 1.0) if array.dtype.kind in "iu" else tolerance.atol
        if not np.isclose(b, a, rtol=tolerance.rtol, atol=atol, equal_nan=True).all():
            return False
    return True
