"""No bytes make the reader raise, and what it reads agrees with PyYAML wherever both take it."""

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from modelspec.spec.scalars import RefusedNumberError, resolve
from modelspec.spec.yaml import parse


def same_to_both(word: str) -> bool:
    """Whether YAML 1.1 and 1.2 agree that it is a string."""
    try:
        return resolve(word) == word or yaml.safe_load(f"[{word}]") != [word]
    except (RefusedNumberError, yaml.YAMLError):
        return False


words = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp", "Cn"]), max_size=8
).filter(same_to_both)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


def as_lists(value: object) -> object:
    if isinstance(value, tuple):
        return [as_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: as_lists(item) for key, item in value.items()}
    return value


@given(st.dictionaries(words, values, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_what_is_written_is_read(data: dict[str, object]) -> None:
    for flow in (True, False):
        written = yaml.safe_dump(data, allow_unicode=True, default_flow_style=flow)
        document = parse(written.encode())
        if not document.problems:
            assert as_lists(document.data) == data
        else:
            assert {problem.code for problem in document.problems} <= {"MS104", "MS105", "MS108"}


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_bytes(raw: bytes) -> None:
    parse(raw)


@given(st.text("ab:-[]{}'\"#&*!|>%@? \n\t,0", max_size=40))
@settings(max_examples=500, deadline=None)
def test_any_punctuation(text: str) -> None:
    for problem in parse(text.encode()).problems:
        assert problem.span is not None
        assert problem.span.line >= 1
        assert problem.span.column >= 1
