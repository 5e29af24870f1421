"""Differences of key pre-images, and their words."""

import pytest

from modelspec.match import differences


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [(("a",), 1, 2)]),
        ({"a": 1}, {}, [(("a",), 1, None)]),
        ({}, {"a": {"b": 1}}, [(("a",), None, {"b": 1})]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, [(("a", "c"), 2, 3)]),
        ({"a": [1, 2]}, {"a": [1, 3]}, [(("a",), [1, 2], [1, 3])]),
        ([{"name": "x", "dtype": "f"}], [{"name": "x", "dtype": "i"}], [(("x", "dtype"), "f", "i")]),
    ],
)
def test_only_changed_leaves_are_named(old: object, new: object, expected: object) -> None:
    assert differences(old, new) == expected
