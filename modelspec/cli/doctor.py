"""`modelspec doctor`: what is installed, what each stage needs, what the machine is."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelspec.cli import options
from modelspec.errors import ModelspecError

if TYPE_CHECKING:
    from modelspec.target import Target


@click.command()
@options.file_option
@options.cache_option
@options.format_option("human", "json")
@options.color_option
def command(file: Path | None, cache_dir: Path | None, format_: str) -> None:
    """Show what is installed, what each stage needs, the facts of this machine, and which targets can be built on it."""
    from modelspec.report import doctor
    from modelspec.report.style import Style
    from modelspec.store.store import default_folder

    found = doctor.findings(cache_dir or default_folder(), _targets(file))
    if format_ == "json":
        click.echo(doctor.as_json(found), nl=False)
    else:
        click.echo(doctor.as_text(found, Style(options.use_color(sys.stdout))), nl=False)


def _targets(file: Path | None) -> "tuple[Target, ...] | None":
    """The targets of the spec that was named, or of the one that lies here, if it is sound."""
    from modelspec.spec.load import load

    try:
        return load(options.spec_file(file)).spec.targets
    except ModelspecError:
        if file is not None:
            raise
        return None
