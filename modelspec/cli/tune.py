"""`modelspec tune`: search for the spec whose build is the smallest or fastest that passes the gates."""

import os
import sys
from pathlib import Path

import click

from modelspec.cli import options


@click.command()
@options.file_option
@click.option(
    "--exclude-nodes", is_flag=True, help="Also look for the fewest nodes that quantization has to leave in float."
)
@click.option("--write", is_flag=True, help="Write the best values into the spec; a terminal asks without this.")
@options.offline_option
@options.jobs_option
@options.timeout_option
@options.memory_option
@options.cache_option
@options.format_option("human", "json")
@options.color_option
@options.progress_option
def command(
    file: Path | None,
    exclude_nodes: bool,
    write: bool,
    offline: bool,
    jobs: int | None,
    timeout: int,
    memory: str | None,
    cache_dir: Path | None,
    format_: str,
    progress: str,
) -> None:
    """Search for the smallest or fastest build that passes the gates, by the block `tune`.

    Every trial is the build of a changed spec, judged by its gates on the data set of `tune.data`; that of `evaluate` stays
    unseen. Trials go to the cache and are not published: a second run, or one after an interruption, builds only what is
    missing.

    The same seed gives the same choice where the objective does not depend on the machine, as the size does not. Latency
    does: its choice stays the same only as long as the cache holds what was measured.
    """
    from modelspec.errors import ModelspecError
    from modelspec.execute.execute import Settings
    from modelspec.report import tuning
    from modelspec.report.progress import progress_for, relative
    from modelspec.report.style import Style
    from modelspec.store.store import default_folder
    from modelspec.tune import tune as search

    cores = len(os.sched_getaffinity(0))
    settings = Settings(jobs or cores, False, timeout, options.size("--memory", memory), (), offline)
    asked = search.Asked(options.spec_file(file), cache_dir or default_folder(), settings, exclude_nodes)
    style = Style(options.use_color(sys.stderr))
    try:
        with progress_for(progress, sys.stderr, style) as shown:
            tuned = search.tune(asked, tuning.TuneProgress(shown, style))
    except KeyboardInterrupt:
        click.echo("what was built is cached: the same command goes on from here", err=True)
        raise
    if format_ == "human":
        click.echo(tuning.as_text(tuned, Style(options.use_color(sys.stdout))), nl=False)
        click.echo(tuning.diff(tuned), nl=False)
    written = tuned.is_changed and (write or (format_ == "human" and _agreed(tuned.loaded.file)))
    if written:
        search.write(tuned)
    error = None if tuned.best else ModelspecError((tuning.problem(tuned),))
    if format_ == "json":
        click.echo(tuning.as_json(tuned, written=written), nl=False)
        raise SystemExit(error.exit if error else 0)
    if error:
        raise error
    if written:
        named = f" -f {relative(file)}" if file else ""
        click.echo(f"wrote  {relative(tuned.loaded.file)}\nnext  modelspec build{named}")
    elif tuned.is_changed:
        click.echo("nothing was written; --write does it")


def _agreed(file: Path) -> bool:
    """Whether someone at a terminal says yes."""
    return sys.stdin.isatty() and sys.stdout.isatty() and click.confirm(f"Write this to {file}?", err=True)
