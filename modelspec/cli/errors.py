"""What went wrong, as text: diagnostics in the asked format, and the report of a bug."""

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import click

from modelspec.cli.options import use_color
from modelspec.errors import Diagnostic, ModelspecError, fail

_REFUSALS = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP}
"""What the operating system may answer to a program without faults, besides what `is_of_the_machine`."""


@contextmanager
def refusals_explained(context: click.Context) -> Iterator[None]:
    """Turn a refusal of the operating system that no one foresaw into a message; other surprises are bugs."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise fail("MS402", "the current folder does not exist any more", help="change to another folder") from None
    try:
        yield
    except OSError as error:
        from modelspec.store.files import explained, is_of_the_machine

        if error.errno not in _REFUSALS and not is_of_the_machine(error):
            raise
        raise explained(error, f"running modelspec {context.invoked_subcommand}") from error


def show(error: ModelspecError, context: click.Context) -> None:
    """Print the problems: as data on stdout where data was asked for, for people on stderr."""
    format_ = context.meta.get("modelspec.format", "human")
    stream = sys.stdout if format_ in {"json", "github", "sarif"} else sys.stderr
    try:
        show_diagnostics(error.diagnostics, format_, stream, context)
        stream.flush()
    except OSError:  # the disk that stdout goes to may be full, and that the problem
        with suppress(OSError):
            show_diagnostics(error.diagnostics, "human", sys.stderr, context)
    with suppress(OSError):
        for note in error.notes:
            sys.stderr.write(f"{note}\n")


def show_diagnostics(
    diagnostics: Iterable[Diagnostic],
    format: str,
    stream: TextIO,
    context: click.Context | None = None,
) -> None:
    """Write diagnostics; a format that only the command's own output has becomes text for people."""
    problems = tuple(diagnostics)
    if not problems and format in {"human", "concise", "github"}:
        return
    from modelspec.report.diagnostics import FORMATS, render

    format = format if format in FORMATS else "human"  # noqa: A001
    text = render(problems, format, color=use_color(stream, context), sources=sources(problems))
    if text:
        stream.write(text + "\n")


def sources(diagnostics: Iterable[Diagnostic]) -> dict[str, tuple[str, ...]]:
    """The lines of the files that are spoken of; without those that cannot be read."""
    from modelspec.spec.text import MAX_BYTES, split_lines

    lines: dict[str, tuple[str, ...]] = {}
    for file in {problem.file for problem in diagnostics if problem.file and problem.span}:
        path = Path(file)
        if path.is_file():
            with path.open("rb") as opened:
                text = opened.read(MAX_BYTES).decode("utf-8", errors="replace")
            lines[file] = split_lines(text.removeprefix("\ufeff"))
    return lines


def crash_report(error: BaseException) -> str:
    """Write what is needed to find a bug into the temporary folder; returns the place."""
    import tempfile
    import traceback

    from modelspec.toolchain import own_version

    parts = (
        f"modelspec {own_version()}, Python {sys.version.split()[0]}, {sys.platform}",
        f"arguments: {sys.argv[1:]!r}",
        "".join(traceback.format_exception(error)),
    )
    handle, place = tempfile.mkstemp(prefix="modelspec-crash-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write("\n".join(parts))
    return place
