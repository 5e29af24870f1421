"""Comparison of outputs: tolerant of rounding, of nothing else."""

from typing import Any

import numpy as np
import pytest

from modelspec.compare import compare

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(("expected", "actual", "ok"), [
    ([1.0, 2.0], [1.0, 2.0], True),
    ([1.0, 2.0], [1.0, 2.0009], True),
    ([1.0, 2.0], [1.0, 2.1], False),
    ([NAN, 1.0], [NAN, 1.0], True),
    ([NAN, 1.0], [1.0, NAN], False),
    ([INF], [INF], True),
    ([INF], [-INF], False),
    ([INF], [1e30], False),
    ([1, 2], [1, 2], True),
    ([1, 2], [1, 3], False),
    (["a"], ["a"], True),
    (["a"], ["b"], False),
    ([True], [False], False),
    ([[1.0]], [1.0], False),
    ([], [], True),
])  # fmt: skip
def test_values(expected: list[Any], actual: list[Any], ok: bool) -> None:
    assert compare({"y": np.array(expected)}, {"y": np.array(actual)}, 1e-3, 1e-4).ok is ok


def test_the_difference_is_measured() -> None:
    (output,) = compare({"y": np.array([1.0, 2.0, 4.0])}, {"y": np.array([1.0, 2.5, 4.0])}, 1e-3, 1e-4).outputs
    assert (output.mismatched, output.total, output.max_abs, output.max_rel) == (1, 3, 0.5, 0.25)


def test_a_missing_output_is_no_agreement() -> None:
    assert compare({"a": np.ones(1), "b": np.ones(1)}, {"a": np.ones(1)}, 0, 0).missing == ("b",)


@pytest.mark.parametrize(("expected", "actual", "words"), [
    ([1.0, 2.0], [1.0, 2.5], "1 of 2 values of 'y' differ from the source, by up to 0.5"),
    (["a", "b"], ["a", "c"], "1 of 2 values of 'y' differ from the source"),
    ([1.0, 2.0], [[1.0], [2.0]], "'y' has the shape [2, 1], and [2] in the source"),
])  # fmt: skip
def test_a_difference_in_words(expected: list[Any], actual: list[Any], words: str) -> None:
    (output,) = compare({"y": np.array(expected)}, {"y": np.array(actual)}, 1e-3, 1e-4).outputs
    assert output.words("the source") == words
