"""The store: bytes by their digest, records by their key, private to one user and safe to share between builds.

`cas/` holds bytes, `ac/` records, `latest/` what each action of a spec last was, `tmp/` work in progress, `partial/`
what came of a download so far, `quarantine/` bytes that were not what their name says. A build holds a session: a folder of its own in `tmp/`, with the list of the
records it relies on, which pruning leaves alone.
"""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from modelspec import digest
from modelspec.errors import fail
from modelspec.store.files import (
    cache_errors,
    copy,
    is_sound,
    make_folder,
    open_plain,
    raise_shortage,
    sync_folder,
    write_durably,
)
from modelspec.store.locks import FileLock, held
from modelspec.store.record import Record
from modelspec.store.session import Session, sweep

LAYOUT = "v1"
_LOCK_DEADLINE_S = 600.0
_KEY = re.compile(rb"[0-9a-f]{64}\n")
_KEY_BYTES = 65


class BlobLostError(Exception):
    """Bytes that a record names are missing or were damaged. Whoever made them has to make them again."""

    def __init__(self, sha256: str) -> None:
        super().__init__(sha256)
        self.sha256 = sha256


def default_folder() -> Path:
    """`MODELSPEC_CACHE_DIR`, else the user's cache folder. Raises MS402 where there is no such folder."""
    if chosen := os.environ.get("MODELSPEC_CACHE_DIR"):
        return Path(chosen)
    from platformdirs import user_cache_path

    try:
        return user_cache_path("modelspec", appauthor=False)
    except RuntimeError as error:
        message = "this user has no home folder for the cache"
        raise fail("MS402", message, help="set MODELSPEC_CACHE_DIR, or HOME") from error


class Store:
    """One cache folder. `below` is another store that is read, never written, where this one has nothing."""

    def __init__(self, folder: Path, below: "Store | None" = None) -> None:
        self.root = Path(os.path.abspath(folder)) / LAYOUT  # noqa: PTH100 - without following links
        self._layers: tuple[Store, ...] = (self, *((below,) if below else ()))
        self._session: Session | None = None
        self._lost: set[str] = set()
        """Digests whose bytes are no good and lie where they cannot be moved away."""

    def require_private(self) -> None:
        """Raise MS620 where another user could have planted records, or could read weights and samples."""
        try:
            status = self.root.stat()
        except OSError:
            return  # what is not there yet is made private
        if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
            raise fail(
                "MS620",
                f"other users can write to the cache {str(self.root)!r}",
                why="a record that somebody else wrote would be taken for a result of your own builds",
                help="use --cache-dir with a folder of your own, or remove this one",
            )

    def lock(self, key: str) -> FileLock:
        """The lock under which the action `key` runs, so that two builds run it once."""
        return FileLock(self.root / "locks" / key)

    def gc_lock(self, *, shared: bool) -> AbstractContextManager[None]:
        """Held shared while a record is looked up and pinned or committed, and alone while records are dropped."""
        return held(self.root / "gc.lock", _LOCK_DEADLINE_S, "the cache", shared=shared)

    def sessions_lock(self) -> AbstractContextManager[None]:
        """Held while sessions are begun, swept or asked for their pins: a new one has its lock before others see it."""
        return held(self.root / "sessions.lock", _LOCK_DEADLINE_S, "the cache")

    @property
    def temporary(self) -> Path:
        """Where sessions have their folders."""
        return self.root / "tmp"

    def log(self, key: str) -> Path:
        """Where the output of the action `key` is kept, failed or not."""
        return self.root / "logs" / f"{key}.log"

    def partial(self, key: str) -> Path:
        """What an action that resumes has so far."""
        return self.root / "partial" / key

    def blob(self, sha256: str) -> Path:
        """Where the bytes of a digest lie, if they do."""
        return self.root / "cas" / "sha256" / sha256[:2] / sha256

    def record_path(self, key: str) -> Path:
        """Where the record of a key lies, if there is one."""
        return self.root / "ac" / key[:2] / f"{key}.json"

    def open_session(self) -> Path:
        """A private folder for this process, beside the objects; folders of dead processes are swept."""
        if self._session is None:
            self.require_private()
            with cache_errors("preparing the cache"), self.sessions_lock():
                sweep(self.temporary)
                self._session = Session(self.temporary)
        return self._session.folder

    def close_session(self) -> None:
        """Remove what this process left in tmp/, and let go of its records."""
        if self._session is not None:
            self._session.close()
            self._session = None

    @contextmanager
    def session(self) -> Iterator[Path]:
        """Hold a session: nothing that is found or committed meanwhile is pruned. Within another, that one goes on."""
        outermost = self._session is None
        try:
            yield self.open_session()
        finally:
            if outermost:
                self.close_session()

    @contextmanager
    def _pinning(self) -> Iterator[None]:
        """Within a session, keep pruning out between the look-up of a record and its pin."""
        if self._session is None:
            yield
            return
        with cache_errors("reading the cache"), self.gc_lock(shared=True):
            yield

    def _pin(self, key: str) -> None:
        """Note that this session relies on a record; its age counts from now."""
        if self._session is not None and self._session.pin(key):
            with suppress(OSError):
                os.utime(self.record_path(key))

    def find(self, key: str) -> Record | None:
        """The record of a key, if it is whole and all its bytes are there at their size."""
        with self._pinning():
            record = self.record(key)
            if record is None or not all(self._present(o.sha256, o.size) for o in record.outputs):
                return None
            self._pin(key)
            return record

    def record(self, key: str) -> Record | None:
        """The record of a key, whether or not its bytes are there."""
        for layer in self._layers:
            try:
                with open_plain(layer.record_path(key)) as file:
                    record = Record.from_bytes(file.read(), key)
            except OSError as error:
                raise_shortage(error)
                continue
            if record:
                return record
        return None

    def _present(self, sha256: str, size: int) -> bool:
        for layer in self._layers:
            with suppress(OSError):
                if sha256 not in layer._lost and layer.blob(sha256).stat().st_size == size:
                    return True
        return False

    def take(self, sha256: str, target: Path) -> None:
        """Copy bytes out, hashing them on the way. Raises BlobLostError when they are absent or damaged."""
        for layer in self._layers:
            if _copied(layer.blob(sha256), target):
                return
            layer.quarantine(sha256)
        raise BlobLostError(sha256)

    def read(self, sha256: str) -> bytes:
        """The bytes of a small object, verified. Raises BlobLostError when they are absent or damaged."""
        for layer in self._layers:
            try:
                with open_plain(layer.blob(sha256)) as file:
                    data = file.read()
            except OSError as error:
                raise_shortage(error)
            else:
                if digest.of_bytes(data) == sha256:
                    return data
            layer.quarantine(sha256)
        raise BlobLostError(sha256)

    def quarantine(self, sha256: str) -> None:
        """Put bytes aside that are not what their name says, so that they are a miss, and can be looked at."""
        blob = self.blob(sha256)
        aside = self._set_aside(blob)
        with suppress(OSError):
            if aside is None and os.path.lexists(blob):
                self._lost.add(sha256)
            elif aside and is_sound(aside, sha256):
                aside.replace(blob)  # another build made them again meanwhile

    def _set_aside(self, path: Path) -> Path | None:
        """Move what lies at `path` out of the way; returns the place, or None where it cannot be moved."""
        try:
            aside = make_folder(self.root / "quarantine") / f"{path.name}.{secrets.token_hex(4)}"
            path.replace(aside)
        except OSError:
            return None
        return aside

    def commit(self, record: Record, folder: Path) -> None:
        """Move the files that a record names from `folder` into the store, then write the record.

        The files are sealed (see `files.seal`) and lie on the store's file system, as all of a session does.
        """
        with cache_errors("writing to the cache"), self.gc_lock(shared=True):
            changed = set()
            for output in record.outputs:
                blob = self.blob(output.sha256)
                make_folder(blob.parent)
                # Even where the name is taken: what lies there may be damaged, and this was just hashed.
                self._clear(blob)
                (folder / output.path).replace(blob)
                self._lost.discard(output.sha256)
                changed.add(blob.parent)
            for parent in sorted(changed):
                sync_folder(parent)
            self._clear(self.record_path(record.key))
            write_durably(self.record_path(record.key), record.to_bytes(), self.open_session())
            self._pin(record.key)

    def _clear(self, path: Path) -> None:
        """A folder, unlike a file, is not replaced by a file of its name."""
        if path.is_dir():
            self._set_aside(path)

    def forget(self, key: str) -> None:
        """Drop a record, so that its action runs again."""
        with suppress(OSError):
            self.record_path(key).unlink()

    def latest(self, spec: str, action: str) -> Record | None:
        """What the action was when this spec was last built."""
        for layer in self._layers:
            with suppress(OSError), open_plain(layer.root / "latest" / spec / _file_name(action)) as file:
                if _KEY.fullmatch(key := file.read(_KEY_BYTES)):
                    return self.record(key.decode().strip())
        return None

    def set_latest(self, spec: str, action: str, key: str) -> None:
        """Remember what the action was. A hint for messages: lost without harm, so not synced."""
        path = self.root / "latest" / spec / _file_name(action)
        with suppress(OSError):
            make_folder(path.parent)
            draft = self.open_session() / "latest"
            draft.write_text(key + "\n")
            draft.replace(path)


def _file_name(action: str) -> str:
    return action.replace("/", "_")


def _copied(blob: Path, target: Path) -> bool:
    """Copy an object out; False, and no copy, where the disk does not give back the bytes of its name."""
    try:
        with open_plain(blob) as reader:
            if copy(reader, target) == blob.name:
                return True
    except OSError as error:
        raise_shortage(error)
        if is_sound(blob, blob.name):
            raise  # the target is at fault
    target.unlink(missing_ok=True)
    return False
