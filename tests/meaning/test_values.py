"""JSON values and texts: what differs, where, by how much, and whether that is little."""

from typing import Any

import pytest

from modelspec.meaning.values import compare_json, compare_text, leaves
from modelspec.meaning.verdict import Tolerance, Verdict, worst

HERE = Tolerance(1e-3, 1e-4, granted=False)
ELSEWHERE = Tolerance(1e-3, 1e-4, granted=True)
NAN = float("nan")


@pytest.mark.parametrize(("old", "new", "verdict"), [
    ({"a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1}, Verdict.EQUIVALENT),
    ({"a": 1}, {"a": 1.0}, Verdict.EQUIVALENT),
    ({"a": NAN}, {"a": NAN}, Verdict.EQUIVALENT),
    ({"a": 1.0}, {"a": 1.0005}, Verdict.WITHIN),
    ({"a": 1.0}, {"a": 1.01}, Verdict.DIFFERENT),
    ({"a": 1.0}, {"a": NAN}, Verdict.DIFFERENT),
    ({"a": 1}, {"a": True}, Verdict.DIFFERENT),
    ({"a": 1}, {"a": None}, Verdict.DIFFERENT),
    ({"a": 1}, {}, Verdict.DIFFERENT),
    ({}, {"a": 1}, Verdict.DIFFERENT),
    ({"a": [1, 2]}, {"a": [2, 1]}, Verdict.DIFFERENT),
    ({"a": [1, 2]}, {"a": [1, 2, 3]}, Verdict.DIFFERENT),
    ({"a": {}}, {"a": []}, Verdict.DIFFERENT),
    ({"a": [{"name": "x"}]}, {"a": {"x": {"name": "x"}}}, Verdict.DIFFERENT),
    ({"a": "x"}, {"a": "y"}, Verdict.DIFFERENT),
    ([{"name": "x", "n": 1}, {"name": "y", "n": 2}], [{"name": "y", "n": 2}, {"name": "x", "n": 1}], Verdict.DIFFERENT),
])  # fmt: skip
def test_values(old: Any, new: Any, verdict: Verdict) -> None:
    assert compare_json(old, new, ELSEWHERE)[0] is verdict
    assert compare_json(old, new, HERE)[0] is (Verdict.DIFFERENT if verdict is Verdict.WITHIN else verdict)


def test_leaves_are_named_by_their_path_and_named_items_by_their_name() -> None:
    old = {"inputs": [{"name": "x", "shape": [1, 2]}], "rest": {"k": 1}}
    new = {"inputs": [{"name": "x", "shape": [1, 3]}], "rest": {"k": 1}}
    assert list(leaves(old, new)) == [("inputs.x.shape.1", 2, 3)]


def test_the_largest_number_comes_first_and_what_is_no_number_before_it() -> None:
    _, found = compare_json({"a": 1, "b": 1, "c": "x"}, {"a": 2, "b": 9, "c": "y"}, HERE)
    assert [(one.name, one.gap) for one in found] == [("c", None), ("b", 8.0), ("a", 1.0)]
    assert str(found[1]) == "key b: 1 -> 9"


@pytest.mark.parametrize(("old", "new", "verdict"), [
    ("accuracy 0.9956\n", "accuracy 0.9957\n", Verdict.WITHIN),
    ("accuracy 0.9956\n", "accuracy 0.8\n", Verdict.DIFFERENT),
    ("accuracy 0.9956\n", "precision 0.9956\n", Verdict.DIFFERENT),
    ("size 1e3\n", "size 1.0001e3\n", Verdict.WITHIN),
    ("a 1\n", "a 1 2\n", Verdict.DIFFERENT),
    ("a\r\n", "a\n", Verdict.DIFFERENT),
])  # fmt: skip
def test_texts(old: str, new: str, verdict: Verdict) -> None:
    assert compare_text(old, new, ELSEWHERE)[0] is verdict
    changed, found = compare_text(old, new, HERE)
    assert changed is Verdict.DIFFERENT
    assert found


def test_the_lines_that_differ_are_shown() -> None:
    _, found = compare_text("a\nb\nc\n", "a\nB\nc\n", HERE)
    assert [str(one) for one in found] == ["-b", "+B"]


def test_the_worst_of_several() -> None:
    assert worst([]) is Verdict.EXACT
    assert worst([Verdict.WITHIN, Verdict.EXACT, Verdict.EQUIVALENT]) is Verdict.WITHIN
