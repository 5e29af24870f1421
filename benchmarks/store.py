"""Hashing, and copying out of and into the store, against sha256sum on the same bytes."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Row, medians, run, show
from modelspec import digest
from modelspec.store.files import seal
from modelspec.store.record import Output, Record
from modelspec.store.store import Store

FILES, SIZE = 4, 64 << 20
SLOWEST = 1 / 0.7
"""At least 0.7 of sha256sum's rate."""


def timed(work: Callable[[], object]) -> float:
    """Wall seconds of a function."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rows(runs: int = 5) -> list[Row]:
    """A few large files, as weights are."""
    with tempfile.TemporaryDirectory() as folder:
        inputs = [Path(folder, f"{index}.bin") for index in range(FILES)]
        for path in inputs:
            path.write_bytes(os.urandom(SIZE))
        store = Store(Path(folder, "cache"))
        _drafted(store, inputs)
        record = _sealed(store, inputs)
        store.commit(record, store.open_session())

        def take() -> None:
            for output in record.outputs:
                copied = store.open_session() / output.path
                store.take(output.sha256, copied)
                copied.unlink()

        def hash_files() -> None:
            for path in inputs:
                digest.of_file(path)

        found = medians(
            {
                "sha256sum": lambda: run(["sha256sum", *map(str, inputs)]),
                "hash": lambda: timed(hash_files),
                "take": lambda: timed(take),
                "add": lambda: _add(Path(folder), inputs),
            },
            runs,
        )
        store.close_session()
    against = f"sha256sum, {FILES} x {SIZE >> 20} MiB"
    return [
        Row("hash", against, found["hash"], found["sha256sum"], SLOWEST),
        Row("copy out of the store, hashed", against, found["take"], found["sha256sum"], SLOWEST),
        Row("move into the store, synced to disk", against, found["add"], found["sha256sum"]),
    ]


def _add(folder: Path, inputs: list[Path]) -> float:
    """Into a fresh store each time."""
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        store = Store(Path(fresh))
        _drafted(store, inputs)
        seconds = timed(lambda: store.commit(_sealed(store, inputs), store.open_session()))
        store.close_session()
    return seconds


def _drafted(store: Store, inputs: list[Path]) -> None:
    for path in inputs:
        draft = store.open_session() / "made" / path.name
        draft.parent.mkdir(exist_ok=True)
        draft.write_bytes(path.read_bytes())


def _sealed(store: Store, inputs: list[Path]) -> Record:
    """The record of the drafts, each synced and hashed as the outputs of an action are."""
    made = [store.open_session() / "made" / path.name for path in inputs]
    outputs = tuple(Output(f"made/{path.name}", *seal(path)) for path in made)
    preimage = {"stage": "benchmark"}
    return Record(digest.of_json(preimage), preimage, outputs, "exact", 0.0)


if __name__ == "__main__":
    show(rows())
