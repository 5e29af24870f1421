"""Kernel locks on files: released when their holder dies, however it dies."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from modelspec.errors import fail


class FileLock:
    """An exclusive `flock` on one file. The file stays: removing it would let two holders in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock if nobody holds it."""
        import fcntl

        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
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
def held(path: Path, deadline_s: float, what: str) -> Iterator[None]:
    """Hold the lock at `path`; wait for it no longer than `deadline_s` seconds."""
    lock = FileLock(path)
    end = time.monotonic() + deadline_s
    while not lock.try_acquire():
        if time.monotonic() > end:
            raise fail(
                "MS407",
                f"waited {deadline_s:.0f} s for another build that holds {what}",
                help="let it finish, or end it, and build again",
            )
        time.sleep(0.05)
    with lock:
        yield
