"""The YAML reader: YAML 1.2 scalars, positions for every node, and everything that is refused."""

import pytest

from modelspec.errors import Span
from modelspec.spec.yaml import MAX_DEPTH, parse


def codes(text: str | bytes) -> list[str]:
    document = parse(text.encode() if isinstance(text, str) else text)
    assert all(problem.span and problem.help for problem in document.problems)
    return [problem.code for problem in document.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("y", "y"), ("1:30", "1:30"), ("1_000", "1_000"), ("true", True), ("TRUE", True),
        ("~", None), ("", None), ("0", 0), ("-12", -12), ("+3", 3), ("0x1F", 31), ("1e3", 1000.0), ("1.", 1.0),
        (".5", 0.5), ("1.0e-3", 0.001), ("2026-01-01", "2026-01-01"), ('"1.0"', "1.0"), ("'true'", "true"),
        ("=", "="), ("é😀", "é😀"), ("0b1", "0b1"), ("[1, a]", (1, "a")), ("{a: 1}", {"a": 1}), ("[]", ()),
        ("9223372036854775807", 2**63 - 1),
    ],
)  # fmt: skip
def test_scalars_by_yaml_1_2(text: str, value: object) -> None:
    document = parse(f"key: {text}\n".encode())
    assert document.problems == ()
    assert document.data == {"key": value}
    assert type(document.data["key"]) is type(value)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: 017", "MS111"), ("a: -017", "MS111"), ("a: 00", "MS111"), ("a: 0o17", "MS111"), ("a: .inf", "MS111"),
        ("a: -.INF", "MS111"), ("a: .nan", "MS111"), ("a: " + "9" * 5000, "MS111"), ("a: 9223372036854775808", "MS111"),
        ("a: 1e999", "MS111"), ("a: " + "1" * 5000 + ".5", "MS111"),
        ("a: &x 1", "MS105"), ("<<: {a: 1}", "MS105"), ("a: !!int 3", "MS106"), ("a: ! b", "MS106"),
        ("a: !!python/object:os.system {}", "MS106"), ("a: 1\n---\nb: 2", "MS107"), ("a: 1\n...\n---\n", "MS107"),
        ("1: a", "MS110"), ("true: a", "MS110"), ("~: a", "MS110"), ("? [a]\n: b", "MS110"), ("? {a: b}\n: c", "MS110"),
        ("a: 1\na: 2", "MS102"), ("{a: 1, a: 2}", "MS102"), ('a: 1\n"a": 2', "MS102"),
        ("", "MS103"), ("# only\n", "MS103"), ("word", "MS103"), ("- a", "MS103"), ("~", "MS103"), ("---\n", "MS103"),
        ("a: [", "MS101"), ("a: 'x", "MS101"), ("a:\tb:\n\tc", "MS101"), ("a: b: c", "MS101"), ("a: @b", "MS101"),
        ("a: `b`", "MS101"), ("\ta: b", "MS101"), ("%YAML 9.9\n---\na: 1", "MS101"), ("a: ]", "MS101"),
        ('a: "\\0"', "MS104"), ('a: "\\x1b"', "MS104"), ("a: \0", "MS104"), ("a: \x85", "MS104"), ('a: "\\u202e"', "MS104"),
        ("[" * 3000, "MS108"), ("- " * 3000, "MS108"), ("{a: " * 3000, "MS108"), ("? " * 3000, "MS108"),
        ("? " + "[" * 3000, "MS108"), ("#" * (1 << 20) + "\n", "MS108"),
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_refused(text: str, code: str) -> None:
    *others, last = codes(text)
    assert last == code
    assert set(others) <= {"MS110"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_other_encodings(encoding: str) -> None:
    assert set(codes("name: café\n".encode(encoding))) == {"MS104"}


def test_bad_byte_has_an_offset() -> None:
    (problem,) = parse(b"a: 1\nb: \xff\n").problems
    assert "byte 8" in problem.message
    assert problem.span == Span(2, 4, 2, 5)


def test_byte_order_mark_is_no_part_of_the_text() -> None:
    document = parse(b"\xef\xbb\xbfa: 1\n")
    assert document.data == {"a": 1}
    assert document.positions.key(("a",)) == Span(1, 1, 1, 2)


def test_reading_goes_on_after_a_problem() -> None:
    document = parse(b"a: &x 1\nb: *x\nc: 017\nd: !t v\n<<: {}\n1: 2\na: 3\ne: ok\n")
    assert [p.code for p in document.problems] == ["MS105", "MS105", "MS111", "MS106", "MS105", "MS110", "MS102"]
    assert document.complete
    assert document.data["a"] == 1
    assert document.data["e"] == "ok"


def test_duplicate_key_shows_both_places() -> None:
    (problem,) = parse(b"a: 1\nb: {c: 1, c: 2}\n").problems
    assert problem.span == Span(2, 11, 2, 12)
    assert problem.also == ((Span(2, 5, 2, 6), "first written here"),)


def test_every_node_has_a_position() -> None:
    text = 'a: 1\nb:\n  - c: "x y"   # note\n    d: {e: [1, 2]}\n'
    positions = parse(text.encode()).positions
    assert positions.key(("b", 0, "d", "e")) == Span(4, 9, 4, 10)
    assert positions.value(("b", 0, "d", "e", 1)) == Span(4, 16, 4, 17)
    assert positions.value(("b", 0, "c")) == Span(3, 8, 3, 13)
    assert positions.value(("b",)) == Span(2, 1, 2, 2), "of what takes several lines, the key is marked"
    assert positions.value(("b", 0)) == Span(3, 5, 3, 13)
    assert positions.value(("b", 0, "nowhere", "at all")) == positions.value(("b", 0))
    assert positions.value(()).line == 1


def test_columns_count_characters() -> None:
    assert parse("a: [é😀, b]\n".encode()).positions.value(("a", 1)) == Span(1, 9, 1, 10)


def test_depth_limit_is_exact() -> None:
    assert codes("a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)) == []
    assert codes("a: " + "[" * MAX_DEPTH + "]" * MAX_DEPTH) == ["MS108"]


def test_windows_and_old_mac_line_ends() -> None:
    for ending in ("\r\n", "\r"):
        document = parse(f"a: 1{ending}b: [{ending}".encode())
        assert document.problems[0].span is not None
        assert document.problems[0].span.line == 2
