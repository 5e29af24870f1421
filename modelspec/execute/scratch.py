"""The private folder of one action: filled with verified copies of its declared inputs, emptied into the store."""

import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from modelspec import digest
from modelspec.errors import fail
from modelspec.execute.job_file import Result, write_job
from modelspec.match import Match
from modelspec.plan import Given
from modelspec.resolve import SourceFile
from modelspec.store.files import cache_errors, copy_file, make_folder, remove_tree, seal
from modelspec.store.record import Output, Record
from modelspec.store.store import Store


def prepare(match: Match, records: Mapping[str, Record], store: Store) -> Path:
    """Make the folder. Raises MS601 when a file of the project is no longer the one that was hashed, and BlobLostError."""
    scratch = store.open_session() / match.key[:16]
    with cache_errors("preparing an action"):
        remove_tree(scratch)
        (scratch / "in").mkdir(parents=True)
        (scratch / "out").mkdir()
        for name, value in match.action.inputs.items():
            folder = scratch / "in" / name
            folder.mkdir(parents=True)
            if isinstance(value, Given):
                for file in value.files:
                    _bring(file, folder / file.name)
            else:
                for path, sha256 in records[value.action].slot(value.slot).items():
                    store.take(sha256, folder / path)
        resume = store.partial(match.key) if match.action.stage.resumes else None
        if resume:
            make_folder(resume.parent)
        write_job(scratch, match.action, resume)
    return scratch


def _bring(file: SourceFile, target: Path) -> None:
    """Copy a file of the project, if it still is the one that was hashed."""
    try:
        if file.origin.is_file() and copy_file(file.origin, target) == file.sha256:
            return
    except PermissionError as error:
        raise fail("MS402", f"{file.name} cannot be read any more", help="check its permissions") from error
    raise fail("MS601", f"{file.name} changed while it was being built", help="build again when nothing writes to it")


def collect(match: Match, said: Result, scratch: Path, store: Store) -> Record:
    """Move what the action made into the store, and its record last. Raises CacheUnavailableError where that fails."""
    missing = [slot for slot in match.action.stage.gives if not (scratch / "out" / slot).is_dir()]
    if missing:
        raise fail("MS501", f"the stage made no {' and no '.join(missing)}")
    made = scratch / "out"
    with cache_errors("writing to the cache"):
        outputs = tuple(_sealed(made, path) for path in digest.files_under(made))
    _require_known(match, outputs)
    warnings = tuple({field: asdict(warning)[field] for field in _KEPT} for warning in said.diagnostics)
    determinism = match.action.determinism.value
    record = Record(match.key, dict(match.preimage), outputs, determinism, said.seconds, warnings)
    store.commit(record, made)
    return record


def _require_known(match: Match, outputs: tuple[Output, ...]) -> None:
    """What was known beforehand is what was made: the keys of others have been made of it."""
    known = match.action.stage.known()
    if known is None:
        return
    expected = {f"{slot}/{path}": sha256 for slot, files in known.items() for path, sha256 in files.items()}
    if {output.path: output.sha256 for output in outputs} != expected:
        raise fail("MS640", "what was written is not what came", help="check the disk, and build again")


def _sealed(folder: Path, path: str) -> Output:
    if not stat.S_ISREG((folder / path).lstat().st_mode):
        raise fail("MS501", f"the stage made {path!r}, which is not a plain file")
    return Output(path, *seal(folder / path))


_KEPT = ("code", "message", "help", "why", "path")
"""What is kept of a warning: its place in model.yaml is found anew."""


def keep_log(match: Match, scratch: Path, store: Store) -> str:
    """Move the action's log to where it outlives the folder; returns its path, or "" when there is none."""
    target = store.log(match.key)
    with suppress(OSError):  # a log that is lost fails no build
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (scratch / "log.txt").replace(target)
    remove_tree(scratch)
    return str(target) if target.is_file() else ""
