"""`modelspec lock-check`: whether model.lock is up to date."""

import sys
from pathlib import Path

import click

from modelspec.cli.errors import show_diagnostics
from modelspec.cli.options import PATH, color_option, format_option, spec_file
from modelspec.errors import worst
from modelspec.report.diagnostics import FORMATS


@click.command()
@click.argument("files", nargs=-1, type=PATH)
@format_option(*FORMATS)
@color_option
@click.pass_context
def command(context: click.Context, files: tuple[Path, ...], format_: str) -> None:
    """Check that model.lock says what the project holds. Needs none of the packages that a build needs.

    FILES may be specs, locks, and anything that they are made from; files that belong to no spec are passed over.
    """
    from modelspec import drift

    specs = drift.specs_of(files) if files else [spec_file(None)]
    found = [problem for spec in specs for problem in drift.check(spec)]
    show_diagnostics(found, format_, sys.stdout, context)
    context.exit(worst(problem.exit for problem in found if problem.severity == "error"))
