"""`modelspec build`: compile the spec into verified artifacts."""

import os
import sys
from pathlib import Path

import click

from modelspec.cli import options
from modelspec.errors import fail


@click.command()
@options.file_option
@options.target_option
@options.output_option
@click.option("--until", metavar="STAGE", help="Stop after this stage; publishes nothing.")
@click.option("--no-cache", "fresh", metavar="STAGE", multiple=True, help="Run this stage again; repeatable.")
@options.locked_option
@options.offline_option
@click.option(
    "--update",
    metavar="[STAGE]",
    is_flag=False,
    flag_value="",
    help="Accept results that differ from model.lock: those of STAGE and what follows from it, or all.",
)
@click.option(
    "--allow-deferred", is_flag=True, help="Publish what cannot be compiled here for another machine to finish."
)
@options.jobs_option
@click.option("--keep-going", is_flag=True, help="After a failure, go on with what does not depend on it.")
@options.timeout_option
@options.memory_option
@options.cache_option
@options.format_option("human", "json")
@options.color_option
@options.progress_option
def command(
    file: Path | None,
    targets: tuple[str, ...],
    output: Path,
    until: str | None,
    fresh: tuple[str, ...],
    locked: bool,
    offline: bool,
    update: str | None,
    allow_deferred: bool,
    jobs: int | None,
    keep_going: bool,
    timeout: int,
    memory: str | None,
    cache_dir: Path | None,
    format_: str,
    progress: str,
) -> None:
    """Compile the spec into verified artifacts under dist/."""
    from modelspec.build import Asked, build
    from modelspec.cli.errors import show_diagnostics
    from modelspec.execute.execute import Settings
    from modelspec.report import summary
    from modelspec.report.progress import progress_for
    from modelspec.report.style import Style
    from modelspec.store.store import default_folder

    if locked and update is not None:
        raise fail("MS325", "--locked keeps model.lock and --update moves it", help="leave one of them out")
    settings = Settings(
        jobs or len(os.sched_getaffinity(0)), keep_going, timeout, options.size("--memory", memory), fresh, offline
    )
    asked = Asked(
        options.spec_file(file),
        cache_dir or default_folder(),
        output,
        targets,
        until,
        fresh,
        locked,
        None if update is None else tuple(filter(None, [update])),
        settings,
        allow_deferred=allow_deferred,
    )
    with progress_for(progress, sys.stderr, Style(options.use_color(sys.stderr))) as shown:
        outcome = build(asked, shown.prepared, shown.event)
    show_diagnostics(outcome.warnings, "human", sys.stderr, click.get_current_context())
    if format_ == "json":
        click.echo(summary.build_json(outcome), nl=False)
    else:
        click.echo(summary.build_text(outcome, Style(options.use_color(sys.stdout))), nl=False)
