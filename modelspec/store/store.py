"""The store: bytes by their digest, records by their key, private to one user and safe to share between builds.

`cas/` holds bytes, `ac/` records, `latest/` what each action of a spec last was, `tmp/` work in progress, `partial/`
what came of a download so far, `quarantine/` bytes that were not what their name says. A build holds a session: a folder of its own in `tmp/`, with the list of the
records it relies on, which pruning leaves alone.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from modelspec import digest
from modelspec.errors import fail
from modelspec.store.files import cache_errors, copy, make_folder, sync_folder, write_durably
from modelspec.store.locks import FileLock, held
from modelspec.store.record import Record

LAYOUT = "v1"
PINS = "pins"
_LOCK_DEADLINE_S = 600.0


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

    folder = user_cache_path("modelspec", appauthor=False)
    if not folder.is_absolute():
        raise fail("MS402", "this user has no home folder for the cache", help="set MODELSPEC_CACHE_DIR, or HOME")
    return folder


class Store:
    """One cache folder. `below` is another store that is read, never written, where this one has nothing."""

    def __init__(self, folder: Path, below: "Store | None" = None) -> None:
        self.root = Path(os.path.abspath(folder)) / LAYOUT  # noqa: PTH100 - without following links
        self._layers: tuple[Store, ...] = (self, *((below,) if below else ()))
        self._session: Path | None = None
        self._session_lock: FileLock | None = None
        self._pinned: set[str] = set()

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
                temporary = make_folder(self.root / "tmp")
                self._sweep(temporary)
                session = temporary / f"{os.getpid()}-{secrets.token_hex(4)}"
                lock = FileLock(temporary / f"{session.name}.lock")
                lock.try_acquire()
                session.mkdir(mode=0o700)
                (session / PINS).touch(mode=0o600)
                self._session, self._session_lock = session, lock
        return self._session

    @staticmethod
    def _sweep(temporary: Path) -> None:
        for path in temporary.glob("*.lock"):
            lock = FileLock(path)
            if lock.try_acquire():
                shutil.rmtree(path.with_suffix(""), ignore_errors=True)
                path.unlink(missing_ok=True)
                lock.release()

    def close_session(self) -> None:
        """Remove what this process left in tmp/, and let go of its records."""
        if self._session is not None and self._session_lock is not None:
            shutil.rmtree(self._session, ignore_errors=True)
            with suppress(OSError):
                self._session_lock.path.unlink(missing_ok=True)
            self._session_lock.release()
            self._session = None
            self._pinned.clear()

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
        if self._session is None or key in self._pinned:
            return
        self._pinned.add(key)
        with (self._session / PINS).open("a", encoding="ascii") as file:
            file.write(f"{key}\n")
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
                data = layer.record_path(key).read_bytes()
            except OSError:
                continue
            if record := Record.from_bytes(data, key):
                return record
        return None

    def _present(self, sha256: str, size: int) -> bool:
        for layer in self._layers:
            with suppress(OSError):
                if layer.blob(sha256).stat().st_size == size:
                    return True
        return False

    def take(self, sha256: str, target: Path) -> None:
        """Copy bytes out, hashing them on the way. Raises BlobLostError when they are absent or damaged."""
        for layer in self._layers:
            blob = layer.blob(sha256)
            if blob.is_file() and _copied(blob, target) == sha256:
                return
            layer.quarantine(sha256)
        raise BlobLostError(sha256)

    def read(self, sha256: str) -> bytes:
        """The bytes of a small object, verified. Raises BlobLostError when they are absent or damaged."""
        for layer in self._layers:
            with suppress(OSError):
                data = layer.blob(sha256).read_bytes()
                if digest.of_bytes(data) == sha256:
                    return data
            layer.quarantine(sha256)
        raise BlobLostError(sha256)

    def quarantine(self, sha256: str) -> None:
        """Put bytes aside that are not what their name says, so that they are a miss, and can be looked at."""
        with suppress(OSError):
            folder = make_folder(self.root / "quarantine")
            self.blob(sha256).replace(folder / f"{sha256}.{secrets.token_hex(4)}")

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
                (folder / output.path).replace(blob)
                changed.add(blob.parent)
            for parent in sorted(changed):
                sync_folder(parent)
            write_durably(self.record_path(record.key), record.to_bytes(), self.open_session())
            self._pin(record.key)

    def forget(self, key: str) -> None:
        """Drop a record, so that its action runs again."""
        with suppress(OSError):
            self.record_path(key).unlink()

    def latest(self, spec: str, action: str) -> Record | None:
        """What the action was when this spec was last built."""
        for layer in self._layers:
            with suppress(OSError):
                return self.record((layer.root / "latest" / spec / _file_name(action)).read_text().strip())
        return None

    def set_latest(self, spec: str, action: str, key: str) -> None:
        """Remember what the action was. A hint for messages: lost without harm, so not synced."""
        path = self.root / "latest" / spec / _file_name(action)
        with suppress(OSError):
            make_folder(path.parent)
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            draft.write_text(key + "\n")
            draft.replace(path)


def _file_name(action: str) -> str:
    return action.replace("/", "_")


def _copied(blob: Path, target: Path) -> str:
    """The digest of what was copied; "" where the disk does not give the bytes back."""
    try:
        found = copy(blob, target)
    except OSError as error:
        if error.errno != errno.EIO and error.filename != str(blob):
            raise  # the target is at fault
        found = ""
    if found != blob.name:
        target.unlink(missing_ok=True)
    return found
