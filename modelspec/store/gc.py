"""What the cache holds, and how it shrinks: oldest records first, then bytes that no record names."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelspec.store.record import Record
from modelspec.store.store import Store

GRACE_S = 3600.0
"""Younger bytes stay: a build may be about to name them in a record."""


@dataclass(frozen=True)
class Entry:
    """One finished action in the cache."""

    key: str
    stage: str
    bytes: int
    used: float
    """When the record was written, in seconds since the epoch."""
    record: Record


@dataclass(frozen=True)
class Pruned:
    """What a pruning removed."""

    records: int
    blobs: int
    bytes: int


def entries(store: Store) -> list[Entry]:
    """Every whole record, newest first."""
    found = []
    for path in sorted((store.root / "ac").glob("*/*.json")):
        with suppress(OSError):
            record = Record.from_bytes(path.read_bytes(), path.stem)
            if record:
                size = sum(output.size for output in record.outputs)
                found.append(Entry(path.stem, str(record.preimage["stage"]), size, path.stat().st_mtime, record))
    return sorted(found, key=lambda entry: (-entry.used, entry.key))


def total_bytes(store: Store) -> int:
    """Bytes of all objects."""
    return sum(path.stat().st_size for path in _blobs(store))


def prune(store: Store, max_bytes: int | None, max_age_s: float | None, *, dry_run: bool) -> Pruned:
    """Forget records older than `max_age_s`, then the oldest until the rest fits `max_bytes`; drop orphaned bytes.

    A build that runs meanwhile loses nothing but a hit: it finds out at its next look, and runs the action again.
    """
    now = time.time()
    kept: dict[str, int] = {}
    forgotten: list[Entry] = []
    for entry in entries(store):
        new = {o.sha256: o.size for o in entry.record.outputs if o.sha256 not in kept}
        too_old = max_age_s is not None and now - entry.used > max_age_s
        too_much = max_bytes is not None and sum(kept.values()) + sum(new.values()) > max_bytes
        if too_old or too_much:
            forgotten.append(entry)
        else:
            kept |= new
    orphans = [path for path in _blobs(store) if path.name not in kept and _may_go(path, forgotten, now)]
    size = sum(path.stat().st_size for path in orphans)
    if not dry_run:
        for entry in forgotten:
            store.forget(entry.key)
        for path in orphans:
            path.unlink(missing_ok=True)
    return Pruned(len(forgotten), len(orphans), size)


def _may_go(path: Path, forgotten: list[Entry], now: float) -> bool:
    named = any(path.name == output.sha256 for entry in forgotten for output in entry.record.outputs)
    return named or now - path.stat().st_mtime > GRACE_S


def _blobs(store: Store) -> list[Path]:
    return sorted(path for path in (store.root / "cas" / "sha256").glob("??/*") if path.is_file())
