"""Named arrays: equal bits, largest differences, tolerance."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from modelspec.meaning.arrays import all_close, findings, same_bits
from modelspec.meaning.verdict import Tolerance

LITTLE = Tolerance(1e-3, 1e-4, granted=True)
F32, I8 = np.float32, np.int8


@pytest.mark.parametrize(("old", "new", "same"), [
    (np.array([1, 2], F32), np.array([1, 2], F32), True),
    (np.array([1, 2], F32), np.array([1, 2], np.float64), False),
    (np.array([1, 2], F32), np.array([[1, 2]], F32), False),
    (np.array([0.0], F32), np.array([-0.0], F32), False),
    (np.array([np.nan], F32), np.array([np.nan], F32), True),
    (np.array(["a" * 3, "b"], object), np.array(["aa" + "a", "b"], object), True),
    (np.array(["a"], object), np.array(["b"], object), False),
])  # fmt: skip
def test_bits(old: Any, new: Any, same: bool) -> None:
    assert same_bits(old, new) is same


@pytest.mark.parametrize(("old", "new", "text", "gap"), [
    (np.array([1, 2, 3], F32), np.array([1, 2.5, 3], F32), "1 of 3 values differ, by up to 0.5", 0.5),
    (np.array([[1, 2]], I8), np.array([[1, -128]], I8), "1 of 2 values differ, by up to 130", 130.0),
    (np.array([1.0], F32), np.array([np.nan], F32), "1 of 1 values differ, by something that is no number", None),
    (np.array([0.0], F32), np.array([-0.0], F32), "1 of 1 values differ, by up to 0", 0.0),
    (np.array(1.0, F32), np.array(2.0, F32), "1 of 1 values differ, by up to 1", 1.0),
    (np.array([1.0], F32), np.array([1], I8), "float32 [1] -> int8 [1]", None),
    (np.array(["a", "b"]), np.array(["a", "c"]), "1 of 2 values differ", None),
    (np.array([True]), np.array([False]), "1 of 1 values differ, by up to 1", 1.0),
    (np.array([1], ml_dtypes.bfloat16), np.array([2], ml_dtypes.bfloat16), "1 of 1 values differ, by up to 1", 1.0),
    (np.array([1], ml_dtypes.int4), np.array([-2], ml_dtypes.int4), "1 of 1 values differ, by up to 3", 3.0),
])  # fmt: skip
def test_what_differs(old: Any, new: Any, text: str, gap: float | None) -> None:
    (found,) = findings("array", {"w": old}, {"w": new})
    assert (found.name, found.text, found.gap) == ("w", text, gap)


def test_names_that_one_side_lacks() -> None:
    one = np.zeros(1, F32)
    assert [str(f) for f in findings("array", {"a": one, "b": one}, {"b": one, "c": one})] == [
        "array a: is not in the rebuilt file",
        "array c: is only in the rebuilt file",
    ]


@pytest.mark.parametrize(("old", "new", "close"), [
    (np.array([1.0], F32), np.array([1.0005], F32), True),
    (np.array([1.0], F32), np.array([1.01], F32), False),
    (np.array([np.nan], F32), np.array([np.nan], F32), True),
    (np.array([5], I8), np.array([6], I8), True),
    (np.array([5], I8), np.array([7], I8), False),
    (np.array(["a"]), np.array(["b"]), False),
    (np.array([1.0], F32), np.array([[1.0]], F32), False),
])  # fmt: skip
def test_closeness(old: Any, new: Any, close: bool) -> None:
    assert all_close({"w": old}, {"w": new}, LITTLE) is close
    assert not all_close({"w": old}, {"v": new}, LITTLE)
