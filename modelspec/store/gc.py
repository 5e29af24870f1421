"""What the cache holds, how it shrinks, and whether it is sound.

Pruning drops the records that were not used for longest, then the bytes that no record names. What a running build
relies on stays, and so does a `recorded` result that a project's model.lock pins: it could not be made again.
"""

import os
import re
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from modelspec.store.files import is_sound, open_plain, os_errors_explained, raise_shortage, remove_tree
from modelspec.store.record import Record
from modelspec.store.roots import rooted
from modelspec.store.session import pinned, sweep
from modelspec.store.store import Store

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
    with os_errors_explained("reading the cache"):
        return _scan(store)[0]


def _scan(store: Store) -> tuple[list[Entry], list[Path]]:
    """The whole records, newest first, and what is none. Raises OSError for what cannot be read: it may be one."""
    found, broken = [], []
    for path in _records(store):
        with suppress(FileNotFoundError):
            if record := _read(path):
                size = sum(output.size for output in record.outputs)
                stage = str(record.preimage.get("stage", "?"))
                found.append(Entry(path.stem, stage, size, path.stat().st_mtime, record))
            else:
                broken.append(path)
    return sorted(found, key=lambda entry: (-entry.used, entry.key)), broken


def _records(store: Store) -> list[Path]:
    return sorted((store.root / "ac").glob("*/*.json"))


def _read(path: Path) -> Record | None:
    """The record, or None where it is not whole. Raises OSError where that cannot be told."""
    if path.is_symlink() or path.is_dir():
        return None
    with open_plain(path) as file:
        return Record.from_bytes(file.read(), path.stem)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)


def total_bytes(store: Store) -> int:
    """Bytes of all objects."""
    return sum(map(_size, blobs(store)))


def _size(path: Path) -> int:
    """Bytes of a file; none if a build has put it aside meanwhile."""
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def blobs(store: Store) -> list[Path]:
    """Every object, sorted; names that are no digest are not ours."""
    found = (store.root / "cas" / "sha256").glob("??/*")
    return sorted(path for path in found if _SHA256.fullmatch(path.name) and path.is_file())


def prune(store: Store, max_bytes: int | None, max_age_s: float | None, *, dry_run: bool) -> Pruned:
    """Forget records older than `max_age_s`, then the oldest until the rest fits `max_bytes`; drop orphaned bytes."""
    if not store.root.is_dir():
        return Pruned(0, 0, 0)
    with os_errors_explained("pruning the cache"), store.gc_lock(shared=False):
        everything, broken = _scan(store)
        forgotten, kept = _chosen(store, everything, max_bytes, max_age_s)
        orphans = [path for path in blobs(store) if path.name not in kept]
        size = sum(map(_size, orphans))
        if not dry_run:
            for key in forgotten:
                store.log(key).unlink(missing_ok=True)
            # Records first: one that is there has its bytes at all times.
            for path in (*map(store.record_path, forgotten), *broken, *orphans):
                _remove(path)
            remove_tree(store.root / "quarantine")
            with store.sessions_lock():
                sweep(store.temporary)
            _drop_partial(store)
    return Pruned(len(forgotten), len(orphans), size)


def _drop_partial(store: Store) -> None:
    """Drop what came of downloads that nobody is at: a build that is holds the lock of the key."""
    for path in (store.root / "partial").glob("*"):
        lock = store.lock(path.name.partition(".")[0])
        if lock.try_acquire():
            path.unlink(missing_ok=True)
            lock.release()


def _chosen(
    store: Store, everything: list[Entry], max_bytes: int | None, max_age_s: float | None
) -> tuple[list[str], set[str]]:
    """Keys to forget, and the digests that stay."""
    now = time.time()
    with store.sessions_lock():
        safe = pinned(store.temporary) | rooted(store)
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
    with os_errors_explained("verifying the cache"):
        records, objects = _records(store), blobs(store)
        damaged = [path for path in objects if not is_sound(path, path.name) and path.exists()]
        there = {path.name for path in objects} - {path.name for path in damaged}
        suspects = [path for path in records if _defect(store, path, there)]
        # Builds and prunings go on meanwhile: what seems to lack something is looked at again with prunings kept out.
        with store.gc_lock(shared=True) if os.access(store.root, os.W_OK) else nullcontext():
            defects = [defect for path in suspects if (defect := _defect(store, path, set()))]
            if repair:
                for path in damaged:
                    store.quarantine(path.name)
                for defect in defects:
                    _remove(defect.path)
    rotten = [Defect(path, "its bytes are not what its name says") for path in damaged]
    return Verified(len(objects), len(records), (*rotten, *defects))


def _defect(store: Store, path: Path, there: set[str]) -> Defect | None:
    """What is wrong with a record; `there` are objects that need no second look."""
    try:
        record = _read(path)
    except FileNotFoundError:
        return None  # it was pruned
    except OSError as error:
        raise_shortage(error)
        record = None
    if record is None:
        return Defect(path, "it is not a whole record of its key")
    for output in record.outputs:
        if output.sha256 not in there and not is_sound(store.blob(output.sha256), output.sha256):
            return Defect(path, f"{output.path} is missing or damaged")
    return None
