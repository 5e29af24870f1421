"""Counts the calls by which this process changes files, and strikes at one of them: a kill, a torn write, an error.

Installed in a forked child only. What the interpreter's C code opens goes through `io.open`, so that one is replaced by
the same thing in Python, over a raw file whose writes and reads are counted.
"""

import errno
import fcntl
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelspec import platform_linux

_CHANGES = ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir", "fchmod", "chmod", "utime")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass
class Calls:
    """Strikes at call number `at` (from 1; 0 only counts). `errno` says with which error; None is SIGKILL.

    With `torn`, only writes count, and half of the one that is struck is written before the process dies.
    With `reads`, calls that change nothing count too.
    """

    at: int = 0
    errno: int | None = None
    torn: bool = False
    reads: bool = False
    said: int = 2
    """A descriptor for the name of the call that was struck."""
    count: int = 0
    paused: bool = False
    refused: set[tuple[int, int]] = field(default_factory=set)
    """Device and inode of files whose fsync failed."""
    done: list[tuple[str, ...]] = field(default_factory=list)
    """The calls that succeeded, by name, with the paths they were about."""

    def __call__(self, name: str, *, changes: bool = True) -> bool:
        """Count a call. True when it is to be torn; raises or dies when it is struck."""
        if self.paused or (self.torn and name != "write") or not (changes or self.reads):
            return False
        self.count += 1
        if self.count != self.at:
            return False
        if self.torn:
            return True
        self.strike(name)
        return False

    def strike(self, name: str) -> None:
        """Die, or raise."""
        os.write(self.said, name.encode())
        if self.errno is None:
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(self.errno, os.strerror(self.errno or 0))

    def note(self, name: str, *arguments: object) -> None:
        """Remember a call that succeeded."""
        if not self.paused:
            self.done.append((name, *(str(argument) for argument in arguments if isinstance(argument, str | Path))))

    @contextmanager
    def resting(self) -> Iterator[None]:
        """What is done meanwhile does not count."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before


def install(calls: Calls) -> None:
    """Replace what changes files in this process."""
    for name in _CHANGES:
        setattr(os, name, _counted(calls, name, getattr(os, name)))
    fcntl.flock = _counted(calls, "flock", fcntl.flock)
    platform_linux.exchange = _counted(calls, "renameat2", platform_linux.exchange)
    os.open = _os_open(calls, os.open)
    setattr(os, "scandir", _counted(calls, "scandir", os.scandir, changes=False))  # noqa: B010
    setattr(os, "fsync", _fsync(calls, os.fsync))  # noqa: B010 - of another type than the original
    io.open = _io_open(calls)


def _counted(calls: Calls, name: str, original: Callable[..., Any], *, changes: bool = True) -> Callable[..., Any]:
    def wrapper(*arguments: Any, **named: Any) -> Any:
        calls(name, changes=changes)
        result = original(*arguments, **named)
        calls.note(name, *arguments)
        return result

    return wrapper


def _os_open(calls: Calls, original: Callable[..., int]) -> Callable[..., int]:
    def wrapper(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        calls("open", changes=bool(flags & _WRITING))
        return original(path, flags, *arguments, **named)

    return wrapper


def _fsync(calls: Calls, original: Callable[[int], None]) -> Callable[[int], None]:
    """A second try on a file whose first failed is the mistake that loses data: it is never forgiven."""

    def wrapper(descriptor: int) -> None:
        status = os.fstat(descriptor)
        file = (status.st_dev, status.st_ino)
        assert file not in calls.refused, "an fsync that failed was tried again"
        try:
            original(descriptor)
        except OSError:
            calls.refused.add(file)
            raise
        calls.note("synced", Path(f"/proc/self/fd/{descriptor}").readlink())

    return wrapper


class _Raw(io.FileIO):
    calls: Calls

    def write(self, data: Any) -> int:
        if self.calls("write"):
            super().write(memoryview(data)[: len(data) // 2])
            self.calls.strike("half a write")
        return super().write(data) or 0

    def readinto(self, buffer: Any) -> int | None:
        self.calls("read", changes=False)
        return super().readinto(buffer)

    def readall(self) -> bytes:
        self.calls("read", changes=False)
        return super().readall()


def _io_open(calls: Calls) -> Callable[..., Any]:
    class Raw(_Raw):
        pass

    Raw.calls = calls

    def opened(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        writes = bool(set(mode) & set("wax+"))
        calls("open", changes=writes)
        raw = Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        try:
            buffered = io.BufferedWriter(raw) if writes else io.BufferedReader(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)
        except BaseException:
            raw.close()
            raise

    return opened


NAMES = {code: name for code, name in errno.errorcode.items() if name in {"EIO", "ENOSPC", "EMFILE", "EROFS", "EFBIG"}}
"""The errors that are tried."""


def quiet() -> None:
    """Send what a dying child would print to nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
