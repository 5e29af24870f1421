"""`modelspec doctor`: what is installed, what each stage needs, what the machine is."""

import sys
from pathlib import Path

import click

from modelspec.cli import options


@click.command()
@options.cache_option
@options.format_option("human", "json")
@options.color_option
def command(cache_dir: Path | None, format_: str) -> None:
    """Show what is installed, what each stage needs, and the facts of this machine."""
    from modelspec.report import doctor
    from modelspec.report.style import Style
    from modelspec.store.store import default_folder

    found = doctor.findings(cache_dir or default_folder())
    if format_ == "json":
        click.echo(doctor.as_json(found), nl=False)
    else:
        click.echo(doctor.as_text(found, Style(options.use_color(sys.stdout))), nl=False)
