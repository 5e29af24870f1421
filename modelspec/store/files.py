"""Writing files so that a crash leaves the old or the new, and copying them so that no two share bytes."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from modelspec import digest
from modelspec.errors import Exit, ModelspecError, fail

_FICLONE = 0x40049409
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SHORTAGE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR}
"""Errors that say nothing about the file: this process may not have more of something."""
_MACHINE = {*NO_SPACE, *_SHORTAGE, errno.EIO, errno.EROFS}
"""Errors that no mistake of this program leads to."""


@contextmanager
def os_errors_explained(what: str) -> Iterator[None]:
    """Turn the operating system's refusals into messages with a code."""
    try:
        yield
    except OSError as error:
        raise explained(error, what) from error


def explained(error: OSError, what: str) -> ModelspecError:
    """A refusal of the operating system as a message with a code and a fix."""
    place = f" ({error.filename})" if error.filename else ""
    if error.errno in NO_SPACE:
        fix = "free some space (modelspec cache prune), or use --cache-dir on another disk"
        return fail("MS403", f"no space left while {what}{place}", help=fix)
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        fix = "allow more of them: ulimit -n 1024"
    else:
        fix = "check the owner and the permissions, or choose another folder"
    return fail("MS402", f"{error.strerror or error} while {what}{place}", help=fix)


def is_of_the_machine(error: OSError) -> bool:
    """Whether a disk, a limit or a shortage is behind an error, wherever it comes up."""
    return error.errno in _MACHINE


class CacheUnavailableError(ModelspecError):
    """The cache cannot be written: a build can do without it."""


@contextmanager
def cache_errors(what: str) -> Iterator[None]:
    """Tell the operating system's refusals in the cache from all others: raises CacheUnavailableError."""
    try:
        with os_errors_explained(what):
            yield
    except ModelspecError as error:
        if any(problem.exit is not Exit.ENVIRONMENT for problem in error.diagnostics):
            raise
        raise CacheUnavailableError(error.diagnostics) from error


def make_folder(folder: Path) -> Path:
    """Make a private folder and those around it, each durable in the one that holds it."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)
    return folder


def seal(path: Path) -> tuple[str, int]:
    """Make a finished file durable and read-only; returns its SHA-256 and its bytes.

    A failed fsync discards the file: after it the kernel may call lost pages clean, so trying again proves nothing.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), 0o444)
        sha256 = digest.of_stream(file)
        return sha256, os.fstat(file.fileno()).st_size


def open_plain(path: Path) -> BinaryIO:
    """Open a file of the store for reading. Raises OSError for whatever else lies there: a link, a pipe, a folder."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return os.fdopen(descriptor, "rb")


def raise_shortage(error: OSError) -> None:
    """Raise what says nothing about the file that was to be read; anything else means that the file is no good."""
    if error.errno in _SHORTAGE:
        raise error


def is_sound(path: Path, sha256: str) -> bool:
    """Whether a plain file lies there with the bytes of this digest. Raises OSError where it cannot be told."""
    try:
        with open_plain(path) as file:
            return digest.of_stream(file) == sha256
    except OSError as error:
        raise_shortage(error)
        return False


def remove_tree(folder: Path) -> None:
    """Remove a folder with all in it, folders that were made read-only included; what cannot go stays."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.is_dir():
        return
    with suppress(OSError):
        folder.chmod(0o700)
        for parent, names, _ in os.walk(folder):  # from the top: each is opened before it is looked into
            for path in (Path(parent, name) for name in names):
                if not path.is_symlink():
                    path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes, temporary: Path) -> None:
    """Put `data` at `path` at once or not at all. `temporary` is a folder of the same file system.

    A failed fsync discards the file: after it the kernel may call lost pages clean, so trying again proves nothing.
    """
    make_folder(path.parent)
    draft = temporary / f"{path.name}.{os.getpid()}.draft"
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def replace_file(path: Path, data: bytes, mode: int | None = None) -> None:
    """Put `data` in the place of a file in a folder of the user's, at once or not at all. Raises OSError."""
    draft = path.with_name(f".{path.name}.draft")  # one name: what a killed process left is overwritten
    draft.unlink(missing_ok=True)
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            draft.chmod(mode)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def copy(reader: BinaryIO, target: Path) -> str:
    """Copy an open file's bytes, by reflink where the file system shares them safely; returns their SHA-256.

    Never by a hard or symbolic link: ONNX refuses linked external data, and an edit would reach the store. A copy that
    does not come to its end is removed.
    """
    import fcntl

    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("wb") as writer:
            with suppress(OSError):
                fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
                return digest.of_file(target)
            return digest.copy_and_hash(reader, writer)[0]
    except OSError:
        with suppress(OSError):
            target.unlink(missing_ok=True)
        raise


def copy_file(source: Path, target: Path) -> str:
    """Copy a file's bytes; returns their SHA-256."""
    with source.open("rb") as reader:
        return copy(reader, target)
