"""Places, types and examples in the words of a message."""

import json
from typing import Any

from modelspec.options import Options
from modelspec.spec.positions import Place
from modelspec.spec.trace import field_of, literals


def called(place: Place) -> str:
    """A place in words: its last key, or the item of a list."""
    if not place:
        return "the spec"
    if isinstance(place[-1], int):
        around = next((str(part) for part in reversed(place[:-1]) if isinstance(part, str)), "")
        return f"item {place[-1] + 1} of '{around}'"
    return f"'{place[-1]}'"


def kind_of(value: Any) -> str:
    """The type of a value, in words."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number" if isinstance(value, int) else "a decimal number"
    names: dict[type, str] = {str: "a string", dict: "a mapping", tuple: "a list"}
    return names.get(type(value), "empty")


def example_of(owner: type[Options] | None, name: str) -> str:
    """An example of a field's value, as YAML on one line."""
    field = field_of(owner, name) if owner else None
    if field is None:
        return "..."
    examples = field.examples or literals(field.annotation) or ["..."]
    return in_flow(examples[0])


def in_flow(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {in_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(in_flow(item) for item in value) + "]"
    if isinstance(value, str) and (not value or not value[0].isalpha() or any(c in value for c in ":#,[]{}'\"")):
        return json.dumps(value, ensure_ascii=False)
    return value if isinstance(value, str) else json.dumps(value)
