"""`modelspec finish`: compile what a build left for this machine."""

from pathlib import Path

import click

from modelspec.cli import options


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--timeout", type=click.FloatRange(1), default=3600.0, show_default=True, help="Seconds for one target.")
@options.color_option
def command(folder: Path, timeout: float) -> None:
    """Compile the deferred targets of dist/<name>/<version> on this machine."""
    from modelspec.finish import finish

    done = finish(folder, timeout, lambda step: click.echo(f"{step} ...", err=True))
    if not done.targets:
        click.echo(f"nothing to finish in {folder}")
    for label in done.targets:
        click.echo(f"built  {folder / label}")
