"""Bytes -> text: UTF-8 only, and no character that hides, reorders or breaks what the reader sees."""

import re
from itertools import islice

from modelspec.errors import Diagnostic, Span

MAX_BYTES = 1 << 20

_LINE_BREAK = re.compile(r"\r\n|\r|\n")

REFUSED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]"
)
"""Control characters, line breaks that only some YAML readers know, and marks that turn the direction of text."""

_BYTE_ORDER_MARKS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


def split_lines(text: str) -> tuple[str, ...]:
    """The lines as YAML counts them."""
    return tuple(_LINE_BREAK.split(text))


def name_of(char: str) -> str:
    """A character that cannot be shown, as `U+202E`."""
    return f"U+{ord(char):04X}"


def decode(raw: bytes) -> tuple[str, list[Diagnostic]]:
    """The text without its byte order mark, and what is wrong with it; the text is then not fit to be parsed."""
    if len(raw) > MAX_BYTES:
        problem = Diagnostic(
            "MS108",
            f"the file has more than {MAX_BYTES} bytes",
            help="keep data in files of their own, and name them here",
            span=Span(1, 1, 1, 1),
        )
        return "", [problem]
    for mark, encoding in _BYTE_ORDER_MARKS:
        if raw.startswith(mark):
            return "", [_not_utf8(f"not UTF-8 at byte 0: this is {encoding}", Span(1, 1, 1, 1))]
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8")
        return before, [_not_utf8(f"not UTF-8 at byte {error.start}", _span_at(before))]
    return text, [
        Diagnostic(
            "MS104",
            f"the character {name_of(found.group())} is refused",
            help="remove it; it does not show, and readers treat it in different ways",
            span=_span_at(text[: found.start()]),
        )
        for found in islice(REFUSED.finditer(text), 20)
    ]


def _not_utf8(message: str, span: Span) -> Diagnostic:
    return Diagnostic("MS104", message, help="save the file as UTF-8", span=span)


def _span_at(before: str) -> Span:
    lines = split_lines(before)
    line, column = len(lines), len(lines[-1]) + 1
    return Span(line, column, line, column + 1)
