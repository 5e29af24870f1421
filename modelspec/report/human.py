"""Diagnostics for people: the line at fault with carets under it, the cause, and one fix."""

import unicodedata
from collections.abc import Mapping

from modelspec.errors import CONFIDENTIAL, Diagnostic, Span

_WIDEST = 140
"""Columns of source text that are shown; a longer line is cut around its mark."""
_COLORS = {"error": "1;31", "warning": "1;33", "frame": "1;34", "bold": "1", "also": "1;34", "help": "1;32"}


def human(diagnostics: list[Diagnostic], *, color: bool, sources: Mapping[str, tuple[str, ...]]) -> str:
    """All diagnostics, an empty line between two."""
    paint = _Paint(color)
    hidden = {problem.file for problem in diagnostics if problem.code in CONFIDENTIAL}
    sources = {file: lines for file, lines in sources.items() if file not in hidden}
    return "\n\n".join(_one(problem, paint, sources.get(problem.file, ())) for problem in diagnostics)


class _Paint:
    def __init__(self, on: bool) -> None:
        self.on = on

    def __call__(self, style: str, text: str) -> str:
        return f"\x1b[{_COLORS[style]}m{text}\x1b[0m" if self.on and text else text


def _one(problem: Diagnostic, paint: _Paint, lines: tuple[str, ...]) -> str:
    head = paint(problem.severity, f"{problem.severity}[{problem.code}]")
    rows = [f"{head}: {paint('bold', visible(problem.message))}"]
    span = problem.span
    known = span is not None and bool(problem.file) and 0 < span.line <= len(lines)
    last = max([span.line, *(other.line for other, _ in problem.also)]) if span and known else 0
    gutter = len(str(last)) if last else 1
    if problem.file:
        where = f"{problem.file}:{span.line}:{span.column}" if span else problem.file
        rows.append(f"{' ' * gutter}{paint('frame', '-->')} {visible(where)}")
    if span and known:
        rows.append(paint("frame", f"{' ' * gutter} |"))
        rows += _excerpt(problem, span, lines, gutter, paint)
    for word, text in (("why", problem.why), ("help", problem.help)):
        if text:
            rows.append(f"{' ' * gutter} {paint('frame', '=')} {paint('bold', word)}: {visible(text)}")
    rows.append(f"{' ' * gutter} {paint('frame', '=')} {paint('bold', 'docs')}: modelspec explain {problem.code}")
    return "\n".join(rows)


def _excerpt(problem: Diagnostic, span: Span, lines: tuple[str, ...], gutter: int, paint: _Paint) -> list[str]:
    """The marked lines in order; `...` stands for lines between that are left out."""
    marks: list[tuple[Span, str, str, str]] = [(span, problem.label, "^", problem.severity)]
    marks += [(other, text, "-", "also") for other, text in problem.also if 0 < other.line <= len(lines)]
    marks.sort(key=lambda mark: (mark[0].line, mark[0].column))
    rows: list[str] = []
    shown, begins = 0, 0
    for mark, label, sign, style in marks:
        text, offset = _cut(lines[mark.line - 1], mark)
        if (mark.line, offset) != (shown, begins):
            if shown and mark.line > shown + 1:
                rows.append(
                    paint(
                        "frame",
                        "..." if mark.line > shown + 2 else _row(shown + 1, gutter) + _cut(lines[shown], None)[0],
                    )
                )
            rows.append(f"{paint('frame', f'{mark.line:>{gutter}} |')} {text}".rstrip())
        shown, begins = mark.line, offset
        rows.append(
            f"{paint('frame', ' ' * gutter + ' |')} {_underline(lines[mark.line - 1], mark, offset, sign, label, style, paint)}"
        )
    return rows


def _row(line: int, gutter: int) -> str:
    return f"{line:>{gutter}} | "


def _underline(line: str, mark: Span, offset: int, sign: str, label: str, style: str, paint: _Paint) -> str:
    start = mark.column - 1
    end = mark.end_column - 1 if mark.end_line == mark.line else len(line.split(" #", maxsplit=1)[0].rstrip())
    before = width(line[offset:start]) + (3 if offset else 0)
    length = max(width(line[start : max(end, start + 1)]), 1)
    room = max(_WIDEST - before, 1)
    return f"{' ' * before}{paint(style, sign * min(length, room) + (f' {visible(label)}' if label else ''))}"


def _cut(line: str, mark: Span | None) -> tuple[str, int]:
    """The part of a line that is shown, and the column where it begins."""
    if len(line) <= _WIDEST:
        return visible(line), 0
    start = 0
    if mark and mark.column > _WIDEST - 40:
        start = mark.column - 40
    part = line[start : start + _WIDEST]
    head = "..." if start else ""
    tail = "..." if start + _WIDEST < len(line) else ""
    return head + visible(part) + tail, start


def width(text: str) -> int:
    """Columns that a terminal takes for `text`, shown as `visible` shows it."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # loaded only where it is needed: most specs are ASCII

    return cell_len(visible(text))


def visible(text: str) -> str:
    """The text with a space for a tab, and a mark for every character that would move or hide others."""
    return "".join(
        " "
        if char == "\t"
        else char
        if char == " " or (char.isprintable() and unicodedata.category(char) != "Cf")
        else "\ufffd"
        for char in text
    )
