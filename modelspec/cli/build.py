"""`modelspec build`: compile the spec into verified artifacts."""

import os
import sys
from pathlib import Path

import click

from modelspec.cli import options


@click.command()
@options.file_option
@options.target_option
@options.output_option
@click.option("--until", metavar="STAGE", help="Stop after this stage; publishes nothing.")
@click.option("--no-cache", "fresh", metavar="STAGE", multiple=True, help="Run this stage again; repeatable.")
@click.option("-j", "--jobs", type=click.IntRange(1, 256), help="Actions at once; the number of cores when left out.")
@click.option("--keep-going", is_flag=True, help="After a failure, go on with what does not depend on it.")
@click.option(
    "--timeout", type=click.IntRange(1, 30 * 86400), default=3600, show_default=True, help="Seconds for one action."
)
@options.cache_option
@options.format_option("human", "json")
@options.color_option
@click.option(
    "--progress",
    type=click.Choice(("auto", "plain", "none")),
    default="auto",
    show_default=True,
    help="How to show what is going on: live on a terminal, plain lines elsewhere.",
)
def command(
    file: Path | None,
    targets: tuple[str, ...],
    output: Path,
    until: str | None,
    fresh: tuple[str, ...],
    jobs: int | None,
    keep_going: bool,
    timeout: int,
    cache_dir: Path | None,
    format_: str,
    progress: str,
) -> None:
    """Compile the spec into verified artifacts under dist/."""
    from modelspec.build import Asked, build
    from modelspec.execute.execute import Settings
    from modelspec.report import summary
    from modelspec.report.progress import progress_for
    from modelspec.report.style import Style
    from modelspec.store.store import default_folder

    settings = Settings(jobs or len(os.sched_getaffinity(0)), keep_going, timeout, fresh)
    asked = Asked(options.spec_file(file), cache_dir or default_folder(), output, targets, until, fresh, settings)
    with progress_for(progress, sys.stderr, Style(options.use_color(sys.stderr))) as shown:
        outcome = build(asked, shown.prepared, shown.event)
    if format_ == "json":
        click.echo(summary.build_json(outcome), nl=False)
    else:
        click.echo(summary.build_text(outcome, Style(options.use_color(sys.stdout))), nl=False)
