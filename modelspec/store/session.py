"""A running build's part of the store: a folder for work in progress, and the list of the records it relies on."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from modelspec.store.files import make_folder, remove_tree
from modelspec.store.locks import FileLock

_PINS = "pins"


class Session:
    """A private folder in `temporary`, with a lock beside it that is held for as long as the process lives.

    Begin one with the store's `sessions_lock` held, so that nobody sees the folder without its lock.
    """

    def __init__(self, temporary: Path) -> None:
        self.folder = make_folder(temporary) / f"{os.getpid()}-{secrets.token_hex(4)}"
        self._lock = FileLock(temporary / f"{self.folder.name}.lock")
        self._pinned: set[str] = set()
        self._lock.try_acquire()
        try:
            self.folder.mkdir(mode=0o700)
            (self.folder / _PINS).touch(mode=0o600)
        except OSError:
            self._lock.release()  # what is left is debris now, and no one's
            raise

    def pin(self, key: str) -> bool:
        """Keep a record and its bytes until the session ends; whether that is new."""
        if key in self._pinned:
            return False
        with (self.folder / _PINS).open("a", encoding="ascii") as file:
            file.write(f"{key}\n")
        self._pinned.add(key)
        return True

    def close(self) -> None:
        """Remove the folder and let go of the records."""
        _remove(self.folder, self._lock)
        self._lock.release()


def sweep(temporary: Path) -> None:
    """Remove the folders of processes that are no more. Call with the store's `sessions_lock` held."""
    for path in temporary.glob("*.lock"):
        lock = FileLock(path)
        if lock.try_acquire():
            _remove(path.with_suffix(""), lock)
            lock.release()


def pinned(temporary: Path) -> set[str]:
    """The keys that running builds rely on. Call with the store's `sessions_lock` held."""
    keys: set[str] = set()
    for path in temporary.glob("*.lock"):
        lock = FileLock(path)
        if lock.try_acquire():
            lock.release()  # a session whose lock is free belongs to no one any more
            continue
        with suppress(FileNotFoundError):  # it is being closed
            keys |= set((path.with_suffix("") / _PINS).read_text(encoding="ascii").split())
    return keys


def _remove(folder: Path, lock: FileLock) -> None:
    """If some of it stays, its lock stays as well, so that it is found again."""
    remove_tree(folder)
    if not folder.exists():
        with suppress(OSError):
            lock.path.unlink(missing_ok=True)
