"""Rendered text -> one object, read strictly and with the lines of its template; and an object -> its one text."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelspec.errors import Diagnostic
from modelspec.render import Rendered
from modelspec.spec import yaml
from modelspec.spec.positions import Positions

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Origin:
    """The template a file comes from, and which keys of the spec its values come from."""

    template: str
    source: tuple[str, ...]
    """The lines of the template."""
    keys: Mapping[str, Place]
    """Names that templates use -> the key below `manifests` that decides their value."""
    asked_by: Place = ("formats",)
    """The key that asks for the template."""

    def problem(self, code: str, message: str, line: int, help: str) -> Diagnostic:
        """A diagnostic that names the template's line, at the key of the spec that is used there."""
        text = self.source[line - 1] if 0 < line <= len(self.source) else ""
        names = (name for piece in _EXPRESSION.findall(text) for name in _NAME.findall(piece))
        path = next((self.keys[name] for name in names if name in self.keys), self.asked_by)
        return Diagnostic(code, f"{self.template}:{line}: {message}", help=help, path=path)


_EXPRESSION = re.compile(r"\{[{%](.*?)[}%]\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Document:
    """One object of a rendered file, and where it comes from."""

    value: Any
    origin: Origin
    lines: tuple[int, ...]
    positions: Positions

    def problem(self, code: str, message: str, place: Place, help: str) -> Diagnostic:
        """A diagnostic about the value at `place`."""
        line = self.positions.value(place).line
        where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")
        template_line = self.lines[min(line, len(self.lines)) - 1]
        return self.origin.problem(code, f"{where}: {message}" if where else message, template_line, help)


def read(rendered: Rendered, origin: Origin) -> tuple[Document, list[Diagnostic]]:
    """The object of a rendered YAML or JSON file, and what is wrong with its form."""
    found = yaml.parse(rendered.text.encode())
    lines = rendered.lines
    problems = [
        origin.problem(
            "MS571", problem.message, lines[min(problem.span.line if problem.span else 1, len(lines)) - 1], problem.help
        )
        for problem in found.problems
        if problem.code != "MS103" or not isinstance(found.data, tuple)  # a list is what a patch is
    ]
    return Document(_without_nulls(found.data), origin, lines, found.positions), problems


def _without_nulls(value: Any) -> Any:
    """Keys without a value are not there; so that a template need not decide whether to write one."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, tuple) else value


_PLAIN = re.compile(r"[A-Za-z_/](?:[A-Za-z0-9_./@:-]*[A-Za-z0-9_./@-])?")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
_HIDDEN = re.compile("[\x7f-\x9f\xa0\xad\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\ue000-\uf8ff\ufeff\ufff0-\uffff]")


def scalar(value: Any) -> str:
    """A scalar that every reader of YAML, of whatever version, takes for the same."""
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
            return value
        return _HIDDEN.sub(lambda char: f"\\u{ord(char[0]):04x}", json.dumps(value, ensure_ascii=False))
    return json.dumps(value, allow_nan=False)


def as_yaml(value: Any) -> str:
    """The one text of an object: keys as they come, a line for each."""
    return "\n".join(_lines(value)) + "\n"


def _lines(value: Any) -> list[str]:
    if isinstance(value, Mapping) and value:
        return [line for key, item in value.items() for line in _entry(f"{scalar(key)}:", item)]
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return [line for item in value for line in _item(item)]
    return ["{}" if isinstance(value, Mapping) else "[]" if isinstance(value, list | tuple) else scalar(value)]


def _is_block(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple) and bool(value)


def _entry(key: str, value: Any) -> list[str]:
    if not _is_block(value):
        return [f"{key} {_lines(value)[0]}"]
    return [key, *(f"  {line}" for line in _lines(value))]


def _item(value: Any) -> list[str]:
    first, *rest = _lines(value)
    return [f"- {first}", *(f"  {line}" for line in rest)]


def as_json(value: Any) -> str:
    """The one text of a JSON file."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
