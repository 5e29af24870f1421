"""`modelspec validate`: read specs and report every problem in them."""

import sys
from pathlib import Path

import click

from modelspec.cli.errors import show_diagnostics
from modelspec.cli.options import PATH, color_option, file_option, format_option, spec_file
from modelspec.errors import Diagnostic, ModelspecError, worst
from modelspec.report.diagnostics import FORMATS


@click.command()
@click.argument("files", nargs=-1, type=PATH)
@file_option
@format_option(*FORMATS)
@color_option
@click.pass_context
def command(context: click.Context, files: tuple[Path, ...], file: Path | None, format_: str) -> None:
    """Check model.yaml, or the given FILES, without running anything.

    Reads the specs and looks whether the files they name are there. Loads no model, no data and no heavy library.
    """
    from modelspec.spec.load import load

    if files and file:
        raise click.UsageError("--file and FILES say the same: give one of them")
    found: list[Diagnostic] = []
    notes: list[str] = []
    names = files or (spec_file(file),)
    for name in names:
        try:
            found += load(name).warnings
        except ModelspecError as error:
            found += error.diagnostics
            notes += error.notes
    show_diagnostics(found, format_, sys.stdout, context)
    sys.stdout.flush()
    if format_ in {"human", "concise"}:
        sys.stderr.write("".join(f"{note}\n" for note in notes) + _summary(names, found))
    context.exit(worst(problem.exit for problem in found if problem.severity == "error"))


def _summary(names: tuple[Path, ...], found: list[Diagnostic]) -> str:
    errors = sum(problem.severity == "error" for problem in found)
    warnings = len(found) - errors
    name = str(names[0])
    checked = f"{len(names)} files" if len(names) > 1 else name if name.isprintable() else repr(name)
    verdict = ", ".join(_count(count, what) for count, what in ((errors, "error"), (warnings, "warning")) if count)
    gap = "\n" if found else ""
    return f"{gap}{checked}: {verdict or 'valid'}\n"


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
