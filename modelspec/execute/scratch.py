"""The private folder of one action: filled with verified copies of its declared inputs, emptied into the store."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from modelspec import digest
from modelspec.errors import Diagnostic, fail
from modelspec.execute.job_file import read_result, write_job
from modelspec.match import Match
from modelspec.plan import Given
from modelspec.store.files import copy, os_errors_explained
from modelspec.store.record import Record
from modelspec.store.store import Store


def prepare(match: Match, records: Mapping[str, Record], store: Store) -> Path:
    """Make the folder. Raises MS601 when a file of the project is no longer the one that was hashed."""
    scratch = store.open_session() / match.key[:16]
    with os_errors_explained("preparing an action"):
        shutil.rmtree(scratch, ignore_errors=True)
        (scratch / "in").mkdir(parents=True)
        (scratch / "out").mkdir()
        for name, value in match.action.inputs.items():
            folder = scratch / "in" / name
            folder.mkdir()
            if isinstance(value, Given):
                for file in value.files:
                    if copy(file.origin, folder / file.name) != file.sha256:
                        raise fail(
                            "MS601",
                            f"{file.name} changed while it was being built",
                            help="build again when nothing writes to it",
                        )
            else:
                _fetch(records[value.action].slot(value.slot), folder, store)
        write_job(scratch, match.action)
    return scratch


def _fetch(files: Mapping[str, str], folder: Path, store: Store) -> None:
    for name, sha256 in files.items():
        if not store.take(sha256, folder / name):
            raise fail(
                "MS602",
                f"the cached {name} does not match its digest; it was dropped",
                help="build again: it will be made anew",
            )


def collect(match: Match, scratch: Path, store: Store) -> Record:
    """Move what the action made into the store and write its record, last."""
    missing = [slot for slot in match.action.stage.gives if not (scratch / "out" / slot).is_dir()]
    if missing:
        raise fail("MS501", f"the stage made no {' and no '.join(missing)}")
    made = scratch / "out"
    outputs = tuple(replace(store.add(made / path), path=path) for path in digest.files_under(made))
    said = read_result(scratch)
    assert said is not None, "a worker that succeeds writes its result"
    warnings = tuple({field: asdict(warning)[field] for field in _KEPT} for warning in said.diagnostics)
    determinism = match.action.determinism.value
    record = Record(match.key, dict(match.preimage), outputs, determinism, said.seconds, warnings)
    store.keep(record)
    return record


_KEPT = ("code", "message", "help", "why", "path")
"""What is kept of a warning: its place in model.yaml is found anew."""


def diagnose(scratch: Path, status: int) -> tuple[Diagnostic, ...]:
    """Why a worker failed: its own words, or what its wait status tells."""
    if said := read_result(scratch):
        return said.diagnostics
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return (
            Diagnostic(
                "MS405",
                f"the worker was ended by signal {number}",
                help="see its log; signal 9 often means that memory ran out",
            ),
        )
    return (Diagnostic("MS405", "the worker died before it could say why", help="see its log"),)


def keep_log(match: Match, scratch: Path, store: Store) -> str:
    """Move the action's log to where it outlives the folder; returns its path."""
    target = store.log(match.key)
    with os_errors_explained("keeping a log"):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (scratch / "log.txt").is_file():
            (scratch / "log.txt").replace(target)
        shutil.rmtree(scratch, ignore_errors=True)
    return str(target)
