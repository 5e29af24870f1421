"""`modelspec build`: compile the spec into verified artifacts."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from modelspec.cli import options
from modelspec.errors import ModelspecError, fail

if TYPE_CHECKING:
    from modelspec.build import Asked, Outcome


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
@click.option(
    "--base",
    type=options.PATH,
    metavar="BUILD",
    help="With --format github: a build.json, or the folder it is in, whose figures the job summary has beside the new ones.",
)
@options.format_option("human", "json", "github")
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
    base: Path | None,
    format_: str,
    progress: str,
) -> None:
    """Compile the spec into verified artifacts under dist/."""
    from modelspec.build import Asked
    from modelspec.execute.execute import Settings
    from modelspec.store.store import default_folder

    if base is not None and format_ != "github":
        raise fail("MS325", "--base has no effect without --format github", help="add it, or leave --base out")
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
    if format_ == "github":
        _in_workflow(asked, base, "none" if progress == "none" else "github")
        return
    outcome = _run(asked, progress, sys.stderr)
    _show(outcome, format_)


def _run(asked: "Asked", progress: str, stream: TextIO) -> "Outcome":
    from modelspec.build import build
    from modelspec.report.progress import progress_for
    from modelspec.report.style import Style

    with progress_for(progress, stream, Style(options.use_color(stream))) as shown:
        return build(asked, shown.prepared, shown.event)


def _show(outcome: "Outcome", format_: str) -> None:
    from modelspec.cli.errors import show_diagnostics
    from modelspec.report import summary
    from modelspec.report.style import Style

    show_diagnostics(outcome.warnings, "human", sys.stderr, click.get_current_context())
    if format_ == "json":
        click.echo(summary.build_json(outcome), nl=False)
    else:
        click.echo(summary.build_text(outcome, Style(options.use_color(sys.stdout))), nl=False)


def _in_workflow(asked: "Asked", base: Path | None, progress: str) -> None:
    """Everything goes to stdout, which is the log; outputs and summary to the files that GitHub names."""
    from modelspec.cli.errors import show_diagnostics
    from modelspec.report import summary, workflow
    from modelspec.report.machine import harmless
    from modelspec.report.style import Style

    earlier = None if base is None else workflow.read_base(base)
    try:
        outcome = _run(asked, progress, sys.stdout)
    except ModelspecError as error:
        _append("GITHUB_STEP_SUMMARY", workflow.failed(asked.file, error, earlier).as_markdown())
        raise
    show_diagnostics(outcome.warnings, "github", sys.stdout, click.get_current_context())
    text = summary.build_text(outcome, Style(options.use_color(sys.stdout)))
    click.echo("\n".join(map(harmless, text.splitlines())))
    _append("GITHUB_STEP_SUMMARY", workflow.built(outcome, earlier).as_markdown())
    _append("GITHUB_OUTPUT", workflow.as_file(workflow.outputs(outcome, earlier)))


def _append(variable: str, text: str) -> None:
    """Add to a file of the runner; anywhere else there is none."""
    if name := os.environ.get(variable):
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(text)
