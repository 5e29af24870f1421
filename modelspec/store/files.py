"""Writing files so that a crash leaves the old or the new, and copying them so that no two share bytes."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelspec import digest
from modelspec.errors import Exit, ModelspecError, fail

_FICLONE = 0x40049409


@contextmanager
def os_errors_explained(what: str) -> Iterator[None]:
    """Turn the operating system's refusals into messages with a code."""
    try:
        yield
    except OSError as error:
        raise explained(error, what) from error


def explained(error: OSError, what: str) -> ModelspecError:
    """A refusal of the operating system as MS402, or MS403 where the disk is full."""
    place = f" ({error.filename})" if error.filename else ""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return fail(
            "MS403",
            f"no space left while {what}{place}",
            help="free some space (modelspec cache prune), or use --cache-dir on another disk",
        )
    return fail(
        "MS402",
        f"{error.strerror or error} while {what}{place}",
        help="check the owner and the permissions, or choose another folder",
    )


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


def copy(source: Path, target: Path) -> str:
    """Copy a file's bytes, by reflink where the file system shares them safely; returns their SHA-256.

    Never by a hard or symbolic link: ONNX refuses linked external data, and an edit would reach the store.
    """
    import fcntl

    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reader, target.open("wb") as writer:
        with suppress(OSError):
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
            return digest.of_file(target)
        return digest.copy_and_hash(reader, writer)[0]
