"""`modelspec plan`: what a build would run, and why."""

import sys
from pathlib import Path

import click

from modelspec.cli import options
from modelspec.errors import Exit, fail


@click.command()
@options.file_option
@options.target_option
@click.option("--until", metavar="STAGE", help="Plan up to this stage.")
@click.option("--why", metavar="STAGE", help="Show the whole difference to the last record of this stage.")
@options.locked_option
@options.offline_option
@click.option("--exit-code", is_flag=True, help=f"Exit with {Exit.WORK_TO_DO.value} when there is work to do.")
@options.cache_option
@options.format_option("human", "json", "github-matrix")
@options.color_option
def command(
    file: Path | None,
    targets: tuple[str, ...],
    until: str | None,
    why: str | None,
    locked: bool,
    offline: bool,
    exit_code: bool,
    cache_dir: Path | None,
    format_: str,
) -> None:
    """Show each action with its state and the reason. Runs nothing."""
    from modelspec.build import Asked, prepare
    from modelspec.execute.execute import Settings
    from modelspec.execute.problems import require_offline
    from modelspec.lock import require_unmoved
    from modelspec.report import summary
    from modelspec.report.style import Style
    from modelspec.store.store import default_folder

    if why is not None and format_ == "github-matrix":
        raise fail("MS325", "--why has no form as a matrix", help="use --format json, or leave one of them out")
    settings = Settings(offline=offline)
    prepared = prepare(
        Asked(options.spec_file(file), cache_dir or default_folder(), targets=targets, until=until, settings=settings)
    )
    if locked:
        require_unmoved(prepared.resolved, prepared.whole)
    if offline:
        require_offline(prepared.plan, prepared.matches, prepared.resolved)
    if why is not None:
        matches = prepared.of_stage(why)
        click.echo(summary.why_json(matches) if format_ == "json" else summary.why_text(prepared, matches), nl=False)
    elif format_ == "github-matrix":
        click.echo(summary.plan_matrix(prepared), nl=False)
    elif format_ == "json":
        click.echo(summary.plan_json(prepared), nl=False)
    else:
        click.echo(summary.plan_text(prepared, Style(options.use_color(sys.stdout))), nl=False)
    for problem in prepared.missing:
        click.echo(f"note  {problem.message}; before a build: {problem.help}", err=True)
    if exit_code and summary.has_work(prepared):
        raise SystemExit(Exit.WORK_TO_DO)
