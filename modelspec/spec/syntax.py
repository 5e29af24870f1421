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


def syntax_problem(error: yaml.YAMLError, lines: tuple[str, ...], bracket: yaml.Mark | None) -> Diagnostic:
    """The diagnostic of a parser's error. At the end of the file, what was opened and not closed is marked instead.

    `bracket` is where the innermost bracket was opened that is still open.
    """
    message = getattr(error, "problem", None) or "not valid YAML"
    context = getattr(error, "context", None) or ""
    place = _place(getattr(error, "problem_mark", None), lines)
    opened = _place(getattr(error, "context_mark", None), lines) if context else None
    line, column = place
    if opened and not any(rest.strip() for rest in (lines[line][column:], *lines[line + 1 :])):
        what = "a quoted value" if "quoted" in context else "a bracket"
        start = opened if "quoted" in context or bracket is None else _place(bracket, lines)
        return Diagnostic("MS101", f"{what} without an end", help="close it", span=_span(start))
    help_ = "check the quotes, brackets and indentation above this place"
    if lines[line][column : column + 1] == "\t":
        message, help_ = "a tab where only spaces may stand", "indent with spaces"
    elif "mapping values are not allowed" in message:
        message, help_ = "a colon inside a value", "quote the value, or begin a new line"
    elif "cannot start any token" in message:
        message, help_ = f"{lines[line][column]!r} cannot begin a plain value", "quote the value"
    also = ((_span(opened), context),) if opened and opened[0] != line else ()
    return Diagnostic("MS101", message, help=help_, span=_span(place), also=also)


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
