"""What is said of text that is not YAML, or is YAML and no mapping, in words that help."""

from typing import Any

import yaml

from modelspec.errors import Diagnostic, Span


def not_a_mapping(root: Any, span: Span | None) -> Diagnostic:
    """The diagnostic of a file that is YAML, and no spec."""
    kind = "empty" if root is None else "a sequence" if isinstance(root, tuple) else "a single value"
    return Diagnostic(
        "MS103",
        f"the file is {kind}; a spec is a mapping",
        help="begin with: apiVersion: modelspec/v1 (modelspec init writes a whole one)",
        span=span or Span(1, 1, 1, 1),
    )


_CHECK = "check the indentation, and the quotes and brackets above this place"
_ESCAPE = ("an escape that YAML does not know", "write \\\\ for a backslash, or use single quotes", False)
_SIGN = ("{char!r} cannot begin a plain value", "quote the value", True)
_WORDS: tuple[tuple[str, tuple[str, str, bool]], ...] = (
    ("mapping values are not allowed", ("a colon inside a value", "quote the value, or begin a new line", False)),
    ("cannot start any token", ("{char!r} cannot begin a plain value", "quote the value", False)),
    ("scanning an anchor", _SIGN),
    ("scanning an alias", _SIGN),
    (
        "could not find expected ':'",
        ("a key without a colon", "write key: value, or indent a text of many lines", True),
    ),
    ("expected ',' or '}'", ("a comma or a closing brace is missing before this", _CHECK, False)),
    ("expected ',' or ']'", ("a comma or a closing bracket is missing before this", _CHECK, False)),
    ("<document start>", ("this stands behind the end of the document", "remove it", False)),
    ("expected node content", ("a value is missing before this", _CHECK, False)),
    ("block sequence entries are not", ("a list cannot begin here", "begin it on a new line, or write [a, b]", False)),
    ("comment or line break", ("something is left over on this line", "remove it, or begin a new line", False)),
    ("unknown escape", _ESCAPE),
    ("hexdecimal number", _ESCAPE),
    ("escape code", _ESCAPE),
    ("did not find expected key", ("this does not fit what stands before it", _CHECK, False)),
    ("did not find expected '-'", ("this does not fit the list before it", _CHECK, False)),
)
"""What the parser says -> a message, its fix, and whether the place is where the thing began."""


def too_deep(depth: int, span: Span) -> Diagnostic:
    """The diagnostic of a file that goes further in than `depth` levels, which it does at `span`."""
    message = f"nested more than {depth} levels deep"
    return Diagnostic("MS108", message, help="no spec needs this; check the brackets", span=span)


def syntax_problem(error: yaml.YAMLError, lines: tuple[str, ...], bracket: yaml.Mark | None, depth: int) -> Diagnostic:
    """The diagnostic of a parser's error. At the end of the file, what was opened and not closed is marked instead.

    `bracket` is where the innermost bracket was opened that is still open; `depth`, how many may be.
    """
    said = getattr(error, "problem", None) or "not valid YAML"
    if "nesting depth" in said:
        # PyYAML has a limit of its own since 6.0.4, and reads some 1,000 brackets ahead before it tells of the first.
        return too_deep(depth, _span(_opened_beyond(depth, lines)))
    context = getattr(error, "context", None) or ""
    place = _place(getattr(error, "problem_mark", None), lines)
    opened = _place(getattr(error, "context_mark", None), lines) if context else None
    line, column = place
    if opened and not any(rest.strip() for rest in (lines[line][column:], *lines[line + 1 :])):
        if "quoted" in context:
            return Diagnostic("MS101", "a quoted value without an end", help="close it", span=_span(opened))
        if bracket is not None:
            return Diagnostic("MS101", "a bracket without an end", help="close it", span=_span(_place(bracket, lines)))
    if lines[line][column : column + 1] == "\t":
        return Diagnostic("MS101", "a tab where only spaces may stand", help="indent with spaces", span=_span(place))
    message, fix, at_opening = next(
        (words for part, words in _WORDS if part in f"{context} {said}"), (said, _CHECK, False)
    )
    if opened and at_opening:
        place = opened
    message = message.format(char=lines[place[0]][place[1] : place[1] + 1])
    label = "opened here" if "flow" in context or "quoted" in context else "begins here"
    also = ((_span(opened), label),) if opened and opened[0] != place[0] else ()
    return Diagnostic("MS101", message, help=fix, span=_span(place), also=also)


def _opened_beyond(depth: int, lines: tuple[str, ...]) -> tuple[int, int]:
    """Where more than `depth` brackets are open for the first time; those in texts are counted with them."""
    opened = 0
    for number, line in enumerate(lines):
        for column, char in enumerate(line):
            opened += (char in "[{") - (char in "]}")
            if opened > depth:
                return number, column
    return len(lines) - 1, len(lines[-1])


def _place(mark: yaml.Mark | None, lines: tuple[str, ...]) -> tuple[int, int]:
    """Line and column from 0; what lies behind the last line break counts as the end of the last line."""
    if mark is None:
        return 0, 0
    if mark.line >= len(lines):
        return len(lines) - 1, len(lines[-1])
    return mark.line, mark.column


def _span(place: tuple[int, int]) -> Span:
    line, column = place
    return Span(line + 1, column + 1, line + 1, column + 2)
