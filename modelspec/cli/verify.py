"""`modelspec verify`: whether a published folder is what its build made."""

import sys
from pathlib import Path

import click

from modelspec.cli import options


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--rebuild", is_flag=True, help="Build again from the spec in a varied environment, and compare.")
@options.file_option
@click.option(
    "--timeout", type=click.FloatRange(1), default=3600.0, show_default=True, help="Seconds for one check or action."
)
@options.format_option("human", "json")
@options.color_option
def command(folder: Path, rebuild: bool, file: Path | None, timeout: float, format_: str) -> None:
    """Check the digests, golden outputs and gates of dist/<name>/<version>."""
    from modelspec.report import verification
    from modelspec.report.style import Style
    from modelspec.verify.verify import Asked, verify

    if file is not None and not rebuild:
        options.fail_usage("--file names the spec for --rebuild")
    spec = options.spec_file(file) if rebuild else None
    found = verify(Asked(folder, spec, timeout), lambda step: click.echo(f"{step} ...", err=True))
    if format_ == "json":
        click.echo(verification.as_json(found), nl=False)
        raise SystemExit(found.error.exit if found.error else 0)
    click.echo(verification.as_text(found, Style(options.use_color(sys.stdout))), nl=False)
    if found.error:
        raise found.error
