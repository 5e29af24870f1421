"""Diagnostics as text for people, or as data for tools; every format is made from the same typed problems."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from modelspec.errors import Diagnostic

FORMATS = ("human", "concise", "json", "github", "sarif")
"""The values of --format; all but `human` are data and go to stdout."""

_LONGEST = 600
"""Characters of a message."""

Sources = Mapping[str, tuple[str, ...]]
"""The lines of the files that diagnostics speak of."""


def render(
    diagnostics: Iterable[Diagnostic],
    format: str,
    *,
    color: bool = False,
    sources: Sources | None = None,
) -> str:
    """The text of `diagnostics`, without a final line break. Files are named relative to the current folder."""
    # Code scanning and annotations name files from the root of the repository, wherever the command runs.
    start = _workspace() if format in {"github", "sarif"} else None
    shown = [
        replace(problem, file=relative(problem.file, start), message=_cut(problem.message), help=_cut(problem.help))
        for problem in diagnostics
    ]
    if format == "human":
        from modelspec.report.human import human

        return human(shown, color=color, sources={relative(file): text for file, text in (sources or {}).items()})
    return _formatter(format)(shown)


def _formatter(name: str) -> Callable[[list[Diagnostic]], str]:
    if name == "sarif":
        from modelspec.report.sarif import sarif

        return sarif
    from modelspec.report import machine

    return {"concise": machine.concise, "json": machine.json_list, "github": machine.github}[name]


def _cut(text: str) -> str:
    """A text of bearable length: messages repeat what is written in the spec, however long."""
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}...{text[-half:]}"


def _workspace() -> str | None:
    """The folder that GitHub checked the repository out to, if this runs in it."""
    if not (named := os.environ.get("GITHUB_WORKSPACE")):
        return None
    folder = Path(named).resolve()
    return str(folder) if Path.cwd().is_relative_to(folder) else None


def relative(file: str, start: str | None = None) -> str:
    """A file name relative to the current folder, with forward slashes; as it is where it lies elsewhere."""
    if not file:
        return ""
    try:
        short = os.path.relpath(file, start)
    except ValueError:  # another drive
        return Path(file).as_posix()
    return Path(file).as_posix() if short.startswith("..") else Path(short).as_posix()
