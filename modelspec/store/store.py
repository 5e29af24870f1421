"""The store: bytes by their digest, records by their key, private to one user and safe to share between builds."""

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from modelspec import digest
from modelspec.store.files import copy, os_errors_explained, sync_folder, write_durably
from modelspec.store.locks import FileLock
from modelspec.store.record import Output, Record

LAYOUT = "v1"


def default_folder() -> Path:
    """`MODELSPEC_CACHE_DIR`, else the user's cache folder."""
    if chosen := os.environ.get("MODELSPEC_CACHE_DIR"):
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("modelspec", appauthor=False)


class Store:
    """`cas/` holds bytes, `ac/` records, `latest/` what each action of a spec last was, `tmp/` work in progress."""

    def __init__(self, folder: Path) -> None:
        self.root = Path(os.path.abspath(folder)) / LAYOUT  # noqa: PTH100 - without following links
        self._session: Path | None = None
        self._session_lock: FileLock | None = None

    def make_private(self) -> None:
        """Make the root folder so that nobody else may plant bytes in it, or read weights and samples."""
        self.root.parent.mkdir(parents=True, exist_ok=True)
        self.root.mkdir(mode=0o700, exist_ok=True)

    def lock(self, key: str) -> FileLock:
        """The lock under which the action `key` runs, so that two builds run it once."""
        return FileLock(self.root / "locks" / key)

    def log(self, key: str) -> Path:
        """Where the output of the action `key` is kept, failed or not."""
        return self.root / "logs" / f"{key}.log"

    def blob(self, sha256: str) -> Path:
        """Where the bytes of a digest lie, if they do."""
        return self.root / "cas" / "sha256" / sha256[:2] / sha256

    def _record_path(self, key: str) -> Path:
        return self.root / "ac" / key[:2] / f"{key}.json"

    def open_session(self) -> Path:
        """A private folder for this process, beside the objects; folders of dead processes are swept."""
        if self._session is None:
            with os_errors_explained("preparing the cache"):
                self.make_private()
                temporary = self.root / "tmp"
                temporary.mkdir(mode=0o700, exist_ok=True)
                self._sweep(temporary)
                session = temporary / f"{os.getpid()}-{secrets.token_hex(4)}"
                self._session_lock = FileLock(temporary / f"{session.name}.lock")
                self._session_lock.try_acquire()
                session.mkdir(mode=0o700)
                self._session = session
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
        """Remove what this process left in tmp/."""
        if self._session is not None and self._session_lock is not None:
            shutil.rmtree(self._session, ignore_errors=True)
            self._session_lock.path.unlink(missing_ok=True)
            self._session_lock.release()
            self._session = None

    def add(self, path: Path) -> Output:
        """Move a finished file into the store; it must lie in the session's folder. The path in the result is empty."""
        with os_errors_explained("writing to the cache"):
            with path.open("rb+") as file:
                os.fsync(file.fileno())
            sha256 = digest.of_file(path)
            size = path.stat().st_size
            blob = self.blob(sha256)
            if not (blob.is_file() and blob.stat().st_size == size):
                blob.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.chmod(0o444)
                path.replace(blob)
                sync_folder(blob.parent)
        return Output("", sha256, size)

    def take(self, sha256: str, target: Path) -> bool:
        """Copy bytes out, hashing them on the way. False when they are absent or damaged: damaged ones are dropped."""
        blob = self.blob(sha256)
        if not blob.is_file():
            return False
        with os_errors_explained("reading from the cache"):
            if copy(blob, target) == sha256:
                return True
            target.unlink()
            blob.unlink(missing_ok=True)
        return False

    def find(self, key: str) -> Record | None:
        """The record of a key, if it is whole and all its bytes are there at their size."""
        try:
            data = self._record_path(key).read_bytes()
        except OSError:
            return None
        record = Record.from_bytes(data, key)
        if record and all(self._present(output) for output in record.outputs):
            return record
        return None

    def _present(self, output: Output) -> bool:
        try:
            return self.blob(output.sha256).stat().st_size == output.size
        except OSError:
            return False

    def keep(self, record: Record) -> None:
        """Write a record; its bytes must be in the store already."""
        with os_errors_explained("writing to the cache"):
            write_durably(self._record_path(record.key), record.to_bytes(), self.open_session())

    def forget(self, key: str) -> None:
        """Drop a record, so that its action runs again."""
        with suppress(OSError):
            self._record_path(key).unlink()

    def latest(self, spec: str, action: str) -> Record | None:
        """What the action was when this spec was last built."""
        try:
            key = (self.root / "latest" / spec / action.replace("/", "_")).read_text().strip()
            data = self._record_path(key).read_bytes()
        except OSError:
            return None
        return Record.from_bytes(data, key)

    def set_latest(self, spec: str, action: str, key: str) -> None:
        """Remember what the action was. A hint for messages: lost without harm, so not synced."""
        path = self.root / "latest" / spec / action.replace("/", "_")
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            draft.write_text(key + "\n")
            draft.replace(path)
