"""`modelspec inspect`: what lies in a published folder."""

import sys
from pathlib import Path

import click

from modelspec.cli import options
from modelspec.errors import fail


@click.command()
@click.argument("folder", type=options.FOLDER)
@options.format_option("human", "json")
@options.color_option
def command(folder: Path, format_: str) -> None:
    """Show the targets, figures, gates and files of dist/<name>/<version>."""
    from modelspec.report import summary
    from modelspec.report.style import Style

    build = folder / "build.json"
    if not build.is_file():
        raise fail("MS325", f"{folder} holds no build.json", help="give the folder dist/<name>/<version> of a build")
    try:
        shown = summary.inspect_text(folder, Style(options.use_color(sys.stdout)))
    except (ValueError, LookupError, TypeError, AttributeError, FileNotFoundError) as error:
        raise fail("MS325", f"{folder} is not as a build left it: {error}", help="build it again") from error
    click.echo(build.read_text(encoding="utf-8") if format_ == "json" else shown, nl=False)
