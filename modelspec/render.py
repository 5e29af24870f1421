"""Templates -> text. With render_lines the only file that imports Jinja: sandboxed, and an undefined name is an error."""

import json
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelspec import resources

if TYPE_CHECKING:
    from jinja2 import Environment

_FORMATS = {
    ".yaml.j2": "json",
    ".yml.j2": "json",
    ".json.j2": "json",
    ".md.j2": "markdown",
    ".pbtxt.j2": "pbtxt",
    ".conf.j2": "nginx",
    "Dockerfile.j2": "dockerfile",
}
_MARKDOWN = str.maketrans({char: f"\\{char}" for char in "\\`*_[]<>|#"} | {"\n": " ", "\r": " "})


def render(template: str, /, *, filters: Mapping[str, Callable[..., str]] | None = None, **values: Any) -> str:
    """The text of `templates/<template>` with `values`; what a value may become depends on the format."""
    environment = _environment(_format_of(template)).overlay()
    environment.filters = {**environment.filters, **(filters or {})}
    return environment.get_template(template).render(**values)


@dataclass(frozen=True)
class Rendered:
    """What a template became."""

    text: str
    lines: tuple[int, ...]
    """For each line of the text, the line of the template that it comes from."""


class TemplateError(Exception):
    """A template that cannot be rendered: why, and the line at which that shows."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


def render_traced(template: str, folders: Sequence[Path], values: Mapping[str, Any]) -> Rendered:
    """The template of the first folder that has it, with the lines its text comes from. Raises TemplateError."""
    from jinja2 import FileSystemLoader
    from jinja2.exceptions import TemplateError as JinjaError
    from jinja2.exceptions import TemplateSyntaxError

    from modelspec.render_lines import TracedLines, split

    environment = _environment(_format_of(template)).overlay(extensions=[TracedLines])
    environment.loader = FileSystemLoader(folders)
    try:
        return Rendered(*split(environment.get_template(template).render(values)))
    except TemplateSyntaxError as error:
        raise TemplateError(error.message or "not a template", error.lineno) from error
    except (JinjaError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
        # What a template computes with its values can go wrong in each of these ways.
        raise TemplateError(str(error), _line_of(error, template)) from error


def _line_of(error: Exception, template: str) -> int:
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno or 1 for frame in reversed(frames) if frame.filename.endswith(template)), 1)


def _format_of(template: str) -> str:
    return next((name for suffix, name in _FORMATS.items() if template.endswith(suffix)), "refused")


@cache
def _environment(format_: str) -> "Environment":
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    finalize = {
        "json": _as_json,
        "markdown": _as_markdown,
        "pbtxt": _as_pbtxt,
        "nginx": _as_nginx,
        "dockerfile": _as_dockerfile,
        "refused": _refused,
    }[format_]
    return ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(resources.folder("templates")),
        undefined=StrictUndefined,
        finalize=finalize,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _as_json(value: Any) -> str:
    """One whole scalar or tree: JSON is YAML, so that no value can end where it stands and begin something else."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_not_json)
    return text.replace("\ue000", "\\ue000")  # which marks lines, in render_lines


def _not_json(value: Any) -> str:
    from jinja2 import Undefined

    if isinstance(value, Undefined):
        return str(value)  # raises UndefinedError, which names it
    raise TypeError(f"a template value of type {type(value).__name__} has no form in JSON")


class Word(str):
    """A word of the format itself, such as the name of an enumeration's value."""

    __slots__ = ()


_PBTXT_WORD = re.compile(r"[A-Z][A-Z0-9_]*")


def _as_pbtxt(value: Any) -> str:
    """A number, a word or a string of protobuf's text format; what is not plain in a string is escaped byte by byte."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_as_pbtxt, value))}]"
    if isinstance(value, Word) and _PBTXT_WORD.fullmatch(value):
        return str(value)
    if isinstance(value, bool | int):
        return str(value).lower()
    if type(value) is str:
        plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}" for byte in value.encode())
        return f'"{"".join(plain)}"'
    return _refused(value)


_NGINX_PLAIN = re.compile(r"[A-Za-z0-9._:/\[\]-]+")


def _as_nginx(value: Any) -> str:
    """A number, or a string without any character that means something to nginx."""
    if type(value) is int:
        return str(value)
    if type(value) is str and _NGINX_PLAIN.fullmatch(value):
        return value
    if type(value) is str:
        raise ValueError(f"{value!r} holds characters that nginx reads as its own")
    return _refused(value)


def _as_markdown(value: Any) -> str:
    """Text on one line, without any mark-up of its own."""
    return str(value).translate(_MARKDOWN)


_DOCKERFILE_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}")
"""What stands for itself."""
_DOCKERFILE_OTHER = re.compile(r"[^A-Za-z0-9 ._/:@,=+%\[\]\"\\-]")
"""What a program in JSON is not written with."""


def _as_dockerfile(value: Any) -> str:
    """One word of a closed set of characters, or the words of a program as JSON, which no shell reads.

    Whatever means something to a Dockerfile, to a shell or to JSON is written by its number: the text has no other characters.
    """
    if isinstance(value, str) and _DOCKERFILE_WORD.fullmatch(value):
        return value
    if isinstance(value, (list, tuple)) and value and all(isinstance(word, str) for word in value):
        return _DOCKERFILE_OTHER.sub(lambda char: f"\\u{ord(char[0]):04x}", json.dumps(value))
    raise ValueError(f"{value!r} has no form in a Dockerfile")


def _refused(value: Any) -> str:
    from jinja2 import Undefined

    if isinstance(value, Undefined):
        str(value)  # raises UndefinedError, which names it
    raise ValueError(f"no rule says how {type(value).__name__} is written in this format")
