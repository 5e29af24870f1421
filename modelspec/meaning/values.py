"""Compares JSON values by key path, and texts by their lines."""

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from modelspec.meaning.verdict import Finding, Tolerance, Verdict, judged

Leaf = tuple[str, Any, Any]

_ABSENT = object()
_SHOWN = 60
"""Characters of a value that are shown."""

_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)")


def leaves(old: Any, new: Any, path: str = "") -> Iterator[Leaf]:
    """Where two values differ, as (key path, old, new). Items of lists that have a name go by it, and their order counts."""
    a, b = _by_key(old), _by_key(new)
    if isinstance(a, Mapping) and isinstance(b, Mapping) and isinstance(old, list) == isinstance(new, list):
        for key in [*a, *(key for key in b if key not in a)]:
            yield from leaves(a.get(key, _ABSENT), b.get(key, _ABSENT), f"{path}.{key}" if path else str(key))
        if isinstance(old, list) and a.keys() == b.keys() and list(a) != list(b):
            yield path, list(a), list(b)
    elif (type(old) is not type(new) or old != new) and not _same_number(old, new):
        yield path, old, new


def _by_key(value: Any) -> Any:
    """A list as a mapping: by the names of its items where they have them, else by position."""
    if not isinstance(value, list) or not value:
        return value
    names = [item.get("name") if isinstance(item, Mapping) else None for item in value]
    named = all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
    return dict(zip(names if named else range(len(value)), value, strict=True))


def _same_number(old: Any, new: Any) -> bool:
    """Equal though written in two ways (1 and 1.0), or both not a number."""
    if not _is_number(old) or not _is_number(new):
        return False
    return bool(old == new) or (math.isnan(old) and math.isnan(new))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def compare_json(old: Any, new: Any, tolerance: Tolerance) -> tuple[Verdict, tuple[Finding, ...]]:
    """Equal but for their spelling is `equivalent`; numbers may lie within the tolerance, all else must be equal."""
    found = list(leaves(old, new))
    close = all(_close(a, b, tolerance) for _, a, b in found)
    return judged((Finding("key", path, f"{shown(a)} -> {shown(b)}", _gap(a, b)) for path, a, b in found), close=close, tolerance=tolerance)  # fmt: skip


def shown(value: Any) -> str:
    """A value in a line of text, cut where it is long."""
    text = "absent" if value is _ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _gap(old: Any, new: Any) -> float | None:
    if not _is_number(old) or not _is_number(new):
        return None
    gap = abs(float(new) - float(old))
    return gap if math.isfinite(gap) else None


def _close(old: Any, new: Any, tolerance: Tolerance) -> bool:
    gap = _gap(old, new)
    return gap is not None and gap <= tolerance.atol + tolerance.rtol * abs(old)


def compare_text(old: str, new: str, tolerance: Tolerance) -> tuple[Verdict, tuple[Finding, ...]]:
    """The lines that differ; within the tolerance where nothing but numbers in them does."""
    rows = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0)
    changed = [row for row in rows if not row.startswith(("---", "+++", "@@"))]
    (words, numbers), (new_words, new_numbers) = _parted(old), _parted(new)
    close = words == new_words and all(
        a == b or _close(float(a), float(b), tolerance) for a, b in zip(numbers, new_numbers, strict=True)
    )
    if not changed and old != new:
        changed = ["the line ends differ"]
    return judged((Finding("line", "", row) for row in changed), close=close, tolerance=tolerance)


def _parted(text: str) -> tuple[list[str], list[str]]:
    """What is between the numbers of a text, and the numbers."""
    parts = _NUMBER.split(text)
    return parts[::2], parts[1::2]
