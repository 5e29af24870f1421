"""The difference of two builds as text, Markdown and JSON."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from modelspec.gates import quantity
from modelspec.metric import direction
from modelspec.render import render
from modelspec.report.style import Style
from modelspec.review import Change, Review, TargetReview

_MOST_LINES = 400
"""Lines of a diff in Markdown: a comment on a pull request has its limits."""


def as_json(found: Review) -> str:
    """Everything."""
    return json.dumps({"formatVersion": 1, **asdict(found)}, indent=2, ensure_ascii=False) + "\n"


def as_text(found: Review, style: Style) -> str:
    """For a terminal."""
    lines = [style.bold(f"{found.old} -> {found.new}"), *(f"  {line}" for line in _general(found))]
    for target in found.targets:
        lines += ["", style.bold(target.label)]
        rows = _figures(target)
        widths = [max((len(row[key]) for row in rows), default=0) for key in ("name", "old", "new")]
        for row in rows:
            cells = (row[key].ljust(width) for key, width in zip(("name", "old", "new"), widths, strict=True))
            lines.append(f"  {'  '.join(cells)}  {row['change']}".rstrip())
        lines += [f"  {line}" for line in _particular(target)]
        lines += [f"  {_coloured(line, style)}" for line in target.manifests]
    return "\n".join(lines) + "\n"


def as_markdown(found: Review) -> str:
    """For a comment on a pull request."""
    targets = [
        {"label": target.label, "figures": _figures(target), "lines": list(_particular(target))}
        for target in found.targets
    ]
    text = render("review/review.md.j2", old=found.old, new=found.new, lines=list(_general(found)), targets=targets)
    diffs = (line for target in found.targets for line in _block(target))
    return text + "".join(f"{line}\n" for line in diffs)


def _block(target: TargetReview) -> Iterator[str]:
    """The manifests' diff as a block that is indented: nothing in it can end it."""
    if target.manifests:
        shown, left = target.manifests[:_MOST_LINES], len(target.manifests) - _MOST_LINES
        yield from ("", f"Manifests of {target.label}:", "", *(f"    {line}" for line in shown))
        yield from (f"    ... and {left} lines more",) if left > 0 else ()


def _general(found: Review) -> Iterator[str]:
    if found.is_same:
        yield "the published files are the same"
    if found.spec_changed:
        yield "the spec says something else"
    for title, changes in (("tool", found.tools), ("machine", found.environment), ("input", found.inputs)):
        yield from (f"{title} {_moved(change)}" for change in changes)
    if found.stages:
        yield f"other results of: {', '.join(found.stages)}"
    yield from (f"new target {label}" for label in found.added)
    yield from (f"target {label} is gone" for label in found.removed)


def _particular(target: TargetReview) -> Iterator[str]:
    yield from (f"gate {_moved(change)}" for change in target.gates)
    if target.operators:
        yield f"graph: {', '.join(_moved(change) for change in target.operators)}"
    if target.files:
        yield f"files: {', '.join(change.name for change in target.files)}"
    if target.image:
        yield _moved(target.image)


def _moved(change: Change) -> str:
    old, new = ("absent" if side is None else side for side in (change.old, change.new))
    return f"{change.name} {old} -> {new}"


def _figures(target: TargetReview) -> list[dict[str, str]]:
    return [
        {
            "name": change.name,
            "old": quantity(_number(change.old), change.name),
            "new": quantity(_number(change.new), change.name),
            "change": _judged(change),
        }
        for change in target.metrics
    ]


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) else None


def _judged(change: Change) -> str:
    """By how much, and whether that is better; nothing where nothing moved."""
    old, new = _number(change.old), _number(change.new)
    if old is None or new is None or old == new:
        return ""
    share = f"{(new - old) / abs(old):+.1%}, " if old else ""
    return f"{share}{'better' if (new > old) == (direction(change.name) == 'higher') else 'worse'}"


def _coloured(line: str, style: Style) -> str:
    paints = {"+": style.green, "-": style.red, "@": style.dim}
    return paints[line[0]](line) if line[:1] in paints else line
