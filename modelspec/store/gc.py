"""What the cache holds, how it shrinks, and whether it is sound.

Pruning drops the records that were not used for longest, then the bytes that no record names. What a running build
relies on stays, and so does a `recorded` result that a project's model.lock pins: it could not be made again.
"""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelspec import digest
from modelspec.store.locks import FileLock
from modelspec.store.record import Record
from modelspec.store.roots import rooted
from modelspec.store.store import PINS, Store

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """One finished action in the cache."""

    key: str
    stage: str
    bytes: int
    used: float
    """When a build last relied on the record, in seconds since the epoch."""
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
                stage = str(record.preimage.get("stage", "?"))
                found.append(Entry(path.stem, stage, size, path.stat().st_mtime, record))
    return sorted(found, key=lambda entry: (-entry.used, entry.key))


def total_bytes(store: Store) -> int:
    """Bytes of all objects."""
    return sum(path.stat().st_size for path in blobs(store))


def blobs(store: Store) -> list[Path]:
    """Every object, sorted; names that are no digest are not ours."""
    found = (store.root / "cas" / "sha256").glob("??/*")
    return sorted(path for path in found if _SHA256.fullmatch(path.name) and path.is_file())


def prune(store: Store, max_bytes: int | None, max_age_s: float | None, *, dry_run: bool) -> Pruned:
    """Forget records older than `max_age_s`, then the oldest until the rest fits `max_bytes`; drop orphaned bytes."""
    if not store.root.is_dir():
        return Pruned(0, 0, 0)
    with store.gc_lock(shared=False):
        forgotten, kept = _chosen(store, max_bytes, max_age_s)
        orphans = [path for path in blobs(store) if path.name not in kept]
        size = sum(path.stat().st_size for path in orphans)
        if not dry_run:
            for key in forgotten:
                store.forget(key)
                store.log(key).unlink(missing_ok=True)
            for path in (*orphans, *(store.root / "quarantine").glob("*")):
                path.unlink(missing_ok=True)
            _drop_partial(store)
    return Pruned(len(forgotten), len(orphans), size)


def _drop_partial(store: Store) -> None:
    """Drop what came of downloads that nobody is at: a build that is holds the lock of the key."""
    for path in (store.root / "partial").glob("*"):
        lock = store.lock(path.name.partition(".")[0])
        if lock.try_acquire():
            path.unlink(missing_ok=True)
            lock.release()


def _chosen(store: Store, max_bytes: int | None, max_age_s: float | None) -> tuple[list[str], set[str]]:
    """Keys to forget, and the digests that stay."""
    now = time.time()
    safe = _pinned(store) | rooted(store)
    everything = entries(store)
    kept = {o.sha256: o.size for entry in everything if entry.key in safe for o in entry.record.outputs}
    forgotten: list[str] = []
    for entry in everything:
        if entry.key in safe:
            continue
        new = {o.sha256: o.size for o in entry.record.outputs if o.sha256 not in kept}
        too_old = max_age_s is not None and now - entry.used > max_age_s
        too_much = max_bytes is not None and sum(kept.values()) + sum(new.values()) > max_bytes
        if too_old or too_much:
            forgotten.append(entry.key)
        else:
            kept |= new
    return forgotten, set(kept)


def _pinned(store: Store) -> set[str]:
    """Keys that running builds rely on. A session whose lock is free belongs to no one any more."""
    keys: set[str] = set()
    with store.sessions_lock():
        for path in (store.root / "tmp").glob("*.lock"):
            lock = FileLock(path)
            with suppress(OSError):
                if lock.try_acquire():
                    lock.release()
                else:
                    keys |= set((path.with_suffix("") / PINS).read_text(encoding="ascii").split())
    return keys


@dataclass(frozen=True)
class Defect:
    """One thing in the cache that is not what it should be."""

    path: Path
    what: str


@dataclass(frozen=True)
class Verified:
    """What a verification looked at and found."""

    objects: int
    records: int
    defects: tuple[Defect, ...]


def verify(store: Store, *, repair: bool) -> Verified:
    """Hash every object and read every record; `repair` puts damaged bytes aside and drops records that lack theirs."""
    records = sorted((store.root / "ac").glob("*/*.json"))  # first: a record that is written meanwhile has its bytes
    objects = blobs(store)
    damaged = [path for path in objects if not _is_sound(path)]
    bad = {path.name for path in damaged}
    there = {path.name for path in objects} - bad
    found = [Defect(path, "its bytes are not what its name says") for path in damaged]
    defective = list(_defective(records, there))
    if repair:
        for path in damaged:
            store.quarantine(path.name)
        for defect in defective:
            defect.path.unlink(missing_ok=True)
    return Verified(len(objects), len(records), (*found, *defective))


def _is_sound(path: Path) -> bool:
    try:
        return digest.of_file(path) == path.name
    except OSError:
        return False


def _defective(records: list[Path], there: set[str]) -> Iterator[Defect]:
    for path in records:
        try:
            record = Record.from_bytes(path.read_bytes(), path.stem)
        except OSError:
            record = None
        if record is None:
            yield Defect(path, "it is not a whole record of its key")
        elif lost := [output.path for output in record.outputs if output.sha256 not in there]:
            yield Defect(path, f"{lost[0]} is missing or damaged")
