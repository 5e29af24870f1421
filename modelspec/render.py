"""Templates -> text. The only file that imports Jinja: sandboxed, and an undefined name is an error."""

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from modelspec import resources

if TYPE_CHECKING:
    from jinja2 import Environment

_AS_JSON = (".yaml.j2", ".yml.j2", ".json.j2")
_DOCKERFILE = "Dockerfile.j2"
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}")
"""What stands for itself in a Dockerfile."""
_PLAIN = re.compile(r"[^A-Za-z0-9 ._/:@,=+%\[\]\"\\-]")
_MARKDOWN = str.maketrans({char: f"\\{char}" for char in "\\`*_[]<>|#"} | {"\n": " ", "\r": " "})


def render(template: str, /, *, filters: Mapping[str, Callable[..., str]] | None = None, **values: Any) -> str:
    """The text of `templates/<template>` with `values`; what a value may become depends on the format."""
    environment = _environment(_format_of(template)).overlay()
    environment.filters = {**environment.filters, **(filters or {})}
    return environment.get_template(template).render(**values)


def _format_of(template: str) -> str:
    if template.endswith(_AS_JSON):
        return "json"
    if template.endswith(_DOCKERFILE):
        return "dockerfile"
    return "markdown" if template.endswith(".md.j2") else "refused"


@cache
def _environment(format_: str) -> "Environment":
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    finalize = {"json": _as_json, "markdown": _as_markdown, "dockerfile": _as_dockerfile, "refused": _refused}[format_]
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
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_not_json)


def _not_json(value: Any) -> str:
    from jinja2 import Undefined

    if isinstance(value, Undefined):
        return str(value)  # raises UndefinedError, which names it
    raise TypeError(f"a template value of type {type(value).__name__} has no form in JSON")


def _as_markdown(value: Any) -> str:
    """Text on one line, without any mark-up of its own."""
    return str(value).translate(_MARKDOWN)


def _as_dockerfile(value: Any) -> str:
    """One word of a closed set of characters, or the words of a program as JSON, which no shell reads.

    Whatever means something to a Dockerfile, to a shell or to JSON is written by its number: the text has no other characters.
    """
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    if isinstance(value, (list, tuple)) and value and all(isinstance(word, str) for word in value):
        return _PLAIN.sub(lambda char: f"\\u{ord(char[0]):04x}", json.dumps(value))
    raise ValueError(f"{value!r} has no form in a Dockerfile")


def _refused(value: Any) -> str:
    raise ValueError(f"no rule says how {type(value).__name__} is written in this format")
