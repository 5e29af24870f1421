"""Edits of a spec's text: the value changes, and every other character stays."""

import difflib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelspec.errors import ModelspecError
from modelspec.spec import yaml
from modelspec.spec.edit import edited
from modelspec.spec.positions import Place

TEXT = b"""\
# head
a: {b: 1, c: [x, y]}   # of a
d:
  e: "q"  # of e
  f:            # of f
    - one   # of one
    - {g: 1}  # of g

  # trailing
h: |
  text
  more

# end
i: {}
"""


def changed(changes: dict[Place, Any], text: bytes = TEXT) -> list[str]:
    """The lines that are other than before, with - and +."""
    old, new = text.decode().splitlines(), edited(text, changes).decode().splitlines()
    return [line for line in difflib.unified_diff(old, new, n=0, lineterm="") if line[:2] not in {"--", "++", "@@"}]


@pytest.mark.parametrize(
    ("place", "value", "lines"),
    [
        (("a", "b"), 2, ["-a: {b: 1, c: [x, y]}   # of a", "+a: {b: 2, c: [x, y]}   # of a"]),
        (("a", "c"), (), ["-a: {b: 1, c: [x, y]}   # of a", "+a: {b: 1, c: []}   # of a"]),
        (("a", "z"), "no", ["-a: {b: 1, c: [x, y]}   # of a", '+a: {b: 1, c: [x, y], z: "no"}   # of a']),
        (("d", "e"), 1e-05, ['-  e: "q"  # of e', "+  e: 1.0e-05  # of e"]),
        (("d", "k"), 0.1, ["+  k: 0.1"]),
        (("d", "f"), ("u",), ["-  f:            # of f", "-    - one   # of one", "-    - {g: 1}  # of g",
                              "+  f: [u]            # of f"]),
        (("d", "f", 0), "*", ["-    - one   # of one", '+    - "*"   # of one']),
        (("d", "f", 1, "z"), {"m": (1, True)}, ["-    - {g: 1}  # of g", "+    - {g: 1, z: {m: [1, true]}}  # of g"]),
        (("h",), "v", ["-h: |", "-  text", "-  more", "+h: v"]),
        (("i", "j", "k"), None, ["-i: {}", "+i: {j: {k: null}}"]),
        (("d", "e", "x"), 1, ['-  e: "q"  # of e', "+  e: {x: 1}  # of e"]),
        (("d", "f", "x"), 1, ["-  f:            # of f", "-    - one   # of one", "-    - {g: 1}  # of g",
                              "+  f: {x: 1}            # of f"]),
        (("new",), {"x": "1:30"}, ['+new: {x: "1:30"}']),
    ],
)  # fmt: skip
def test_only_the_value_changes(place: Place, value: Any, lines: list[str]) -> None:
    assert changed({place: value}) == lines


def test_what_is_inside_a_value_is_put_there_after_it() -> None:
    lines = ["-a: {b: 1, c: [x, y]}   # of a", "+a: {b: 2}   # of a"]
    assert changed({("a", "b"): 2, ("a",): {"b": 1}}) == changed({("a",): {"b": 1}, ("a", "b"): 2}) == lines


def test_an_item_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelspecError, match=r"MS201 there is no item d\.f\.2"):
        edited(TEXT, {("d", "f", 2): "x"})


def test_windows_lines_and_byte_order_marks_stay() -> None:
    made = edited(TEXT.replace(b"\n", b"\r\n"), {("d", "k"): 1, ("d", "f"): (), ("new",): "x"})
    assert made.count(b"\r\n") == made.count(b"\n") == TEXT.count(b"\n")
    assert edited(b"\xef\xbb\xbfa: 1", {("b",): 2}) == b"\xef\xbb\xbfa: 1\nb: 2"


VALUES = st.recursive(
    st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False) |
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp", "Cn"]), max_size=12),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.sampled_from(["a", "on", "b c"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
PLACES = [place for place in yaml.parse(TEXT).positions.values if place]


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(PLACES), VALUES, min_size=1, max_size=3))
def test_what_is_written_is_read_again(changes: dict[Place, Any]) -> None:
    """`edited` itself compares what it wrote with what was meant; only an item of a list that became short may be missing."""
    try:
        assert yaml.parse(edited(TEXT, changes)).problems == ()
    except ModelspecError as error:
        assert [problem.code for problem in error.diagnostics] == ["MS201"]  # noqa: PT017


@pytest.mark.parametrize("example", sorted((Path(__file__).parents[2] / "examples").glob("*/model.yaml")), ids=str)
def test_a_value_that_stays_changes_nothing(example: Path) -> None:
    raw = example.read_bytes()
    data = yaml.parse(raw).data
    assert edited(raw, {("name",): data["name"]}) == raw
    assert edited(edited(raw, {("card", "license"): "MIT"}), {("card", "license"): data["card"]["license"]}) == raw
