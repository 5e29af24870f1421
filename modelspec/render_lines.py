"""Which line of a template each line of its text comes from. Loops repeat lines, so that counting does not tell."""

import re
from collections.abc import Iterable

from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream

_START, _END = "\ue000", "\ue001"
_MARK = re.compile(f"{_START}([0-9]+){_END}")
_OPENING = re.compile(f"(?:{_START}([0-9]+){_END})+")


class TracedLines(Extension):
    """Puts the number of each of a template's lines into its text, in characters that no value can hold."""

    def filter_stream(self, stream: TokenStream) -> Iterable[Token]:
        """Mark the beginning of every piece of text, and of every line in it."""
        for token in stream:
            yield Token(token.lineno, "data", _marked(token)) if token.type == "data" else token


def _marked(token: Token) -> str:
    lines = token.value.split("\n")
    return "\n".join(f"{_START}{token.lineno + number}{_END}{line}" for number, line in enumerate(lines))


def split(text: str) -> tuple[str, tuple[int, ...]]:
    """The text without the marks, and for each of its lines the line of the template."""
    lines, numbers = [], []
    current = 1
    for line in text.split("\n"):
        # Before a piece of text there may stand what was left of the one before it: the last mark counts.
        if opening := _OPENING.match(line):
            current = int(opening[1])
        lines.append(_MARK.sub("", line))
        numbers.append(current)
        if marks := _MARK.findall(line):
            current = int(marks[-1])
    return "\n".join(lines), tuple(numbers)
