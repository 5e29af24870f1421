"""`modelspec diff`: what is otherwise between two builds."""

import sys
from pathlib import Path

import click

from modelspec.cli import options


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@options.format_option("human", "markdown", "json")
@options.color_option
def command(old: Path, new: Path, format_: str) -> None:
    """Compare two published builds: inputs, tools, graph, size, accuracy, latency, image and manifests."""
    from modelspec.report import review as report
    from modelspec.report.style import Style
    from modelspec.review import review

    found = review(old, new)
    if format_ == "human":
        click.echo(report.as_text(found, Style(options.use_color(sys.stdout))), nl=False)
    else:
        click.echo(report.as_json(found) if format_ == "json" else report.as_markdown(found), nl=False)
