"""Kernel locks on files: released when their holder dies, however it dies."""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from modelspec.errors import fail
from modelspec.store.files import make_folder

_POLL_S = 0.02


class FileLock:
    """A `flock` on one file, or on a folder that is there. The file stays: removing it would let two holders in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def try_acquire(self, *, shared: bool = False) -> bool:
        """Take the lock if nobody holds it; `shared` admits others that share it."""
        import fcntl

        if self.path.is_dir():
            flags = os.O_RDONLY | os.O_DIRECTORY
        else:
            flags = os.O_RDWR | os.O_CREAT
            make_folder(self.path.parent)
        descriptor = os.open(self.path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let the next one in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@contextmanager
def held(path: Path, deadline_s: float, what: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock at `path`; wait for it no longer than `deadline_s` seconds."""
    lock = FileLock(path)
    end = time.monotonic() + deadline_s
    while not lock.try_acquire(shared=shared):
        if time.monotonic() > end:
            raise fail(
                "MS407",
                f"waited {deadline_s:.0f} s for another process that holds {what}",
                help="let it finish, or end it, and try again",
            )
        time.sleep(_POLL_S)
    with lock:
        yield


def release(locks: Iterable[FileLock]) -> None:
    """Let the next ones in."""
    for lock in locks:
        lock.release()
