"""`modelspec cache`: what the cache holds, whether it is sound, and how to shrink it."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelspec.cli import options
from modelspec.errors import fail

if TYPE_CHECKING:
    from modelspec.store.store import Store

_DAY_S = 86400.0


@click.group()
def command() -> None:
    """Show, check or shrink the cache."""


@command.command()
@options.cache_option
@options.format_option("human", "json")
def ls(cache_dir: Path | None, format_: str) -> None:
    """List finished actions, newest first."""
    from modelspec.options import bytes_shown
    from modelspec.store import gc

    store = _store(cache_dir)
    found = gc.entries(store)
    if format_ == "json":
        rows = [{"key": e.key, "stage": e.stage, "bytes": e.bytes, "written": round(e.used)} for e in found]
        click.echo(json.dumps({"formatVersion": 1, "folder": str(store.root), "actions": rows}, indent=2))
        return
    for entry in found:
        age = (time.time() - entry.used) / _DAY_S
        click.echo(f"{entry.key[:12]}  {entry.stage:<12} {bytes_shown(entry.bytes):>10}  {age:5.1f} days")
    click.echo(f"{len(found)} actions, {bytes_shown(gc.total_bytes(store))} in {store.root}")


@command.command()
@click.option("--repair", is_flag=True, help="Put damaged objects aside and drop the results that need them.")
@options.cache_option
@options.format_option("human", "json")
def verify(repair: bool, cache_dir: Path | None, format_: str) -> None:
    """Hash every object and read every record; exits with 5 where something is damaged, unless --repair mends it."""
    from modelspec.report.progress import relative
    from modelspec.store import gc

    found = gc.verify(_store(cache_dir), repair=repair)
    if format_ == "json":
        defects = [{"path": str(defect.path), "what": defect.what} for defect in found.defects]
        value = {"formatVersion": 1, "objects": found.objects, "records": found.records, "repaired": repair}
        click.echo(json.dumps({**value, "defects": defects}, indent=2))
    else:
        for defect in found.defects:
            click.echo(f"{relative(defect.path)}: {defect.what}")
        verb = "repaired" if repair else "damaged"
        click.echo(f"{found.objects} objects and {found.records} records, {len(found.defects)} {verb}")
    if found.defects and not repair:
        raise fail(
            "MS602",
            f"{len(found.defects)} objects and records of the cache are damaged",
            help="modelspec cache verify --repair; the next build makes them anew",
        )


@command.command()
@click.option("--max-size", metavar="SIZE", help="Keep no more than this, newest first: 2GiB, 500MB.")
@click.option("--max-age", metavar="DAYS", type=click.FloatRange(0), help="Forget what is older.")
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
@options.cache_option
def prune(max_size: str | None, max_age: float | None, dry_run: bool, cache_dir: Path | None) -> None:
    """Forget old results and drop bytes that no result names."""
    from modelspec.options import bytes_shown
    from modelspec.store import gc

    age_s = None if max_age is None else max_age * _DAY_S
    pruned = gc.prune(_store(cache_dir), options.size("--max-size", max_size), age_s, dry_run=dry_run)
    verb = "would drop" if dry_run else "dropped"
    click.echo(f"{verb} {pruned.records} actions and {pruned.blobs} objects, {bytes_shown(pruned.bytes)}")


def _store(cache_dir: Path | None) -> "Store":
    from modelspec.store.store import Store, default_folder

    return Store(cache_dir or default_folder())
