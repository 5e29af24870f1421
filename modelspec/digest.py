"""Every hash: of bytes, of a file, of a set of files, of a JSON value. SHA-256 throughout, as lower-case hex."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

CHUNK = 1 << 20


def of_bytes(data: bytes) -> str:
    """The SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def of_file(path: Path) -> str:
    """The SHA-256 of the file's bytes, in memory that does not grow with the file."""
    with path.open("rb") as file:
        return of_stream(file)


def of_stream(file: BinaryIO) -> str:
    """The SHA-256 of what is left of an open file."""
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def canonical_json(value: Any) -> bytes:
    """One spelling for equal values: sorted keys, no white space, UTF-8. NaN and infinity raise ValueError."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def of_json(value: Any) -> str:
    """The SHA-256 of the canonical JSON of `value`."""
    return of_bytes(canonical_json(value))


def of_tree(files: Mapping[str, str]) -> str:
    """The SHA-256 of a set of files, given as relative path -> digest; names count as much as contents."""
    return of_json(sorted(files.items()))


class Running:
    """The SHA-256 of bytes that come piece by piece."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, data: bytes) -> None:
        """The next piece."""
        self._digest.update(data)

    @property
    def sha256(self) -> str:
        """Of all so far."""
        return self._digest.hexdigest()


def copy_and_hash(source: BinaryIO, target: BinaryIO) -> tuple[str, int]:
    """Copy all that is left of `source`; returns the SHA-256 and the number of bytes."""
    digest = hashlib.sha256()
    size = 0
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    while count := source.readinto(buffer):  # type: ignore[attr-defined]
        digest.update(view[:count])
        target.write(view[:count])
        size += count
    return digest.hexdigest(), size


def files_under(folder: Path) -> list[str]:
    """Relative POSIX paths of the regular files below `folder`, sorted by their UTF-8 bytes; links are not followed.

    Raises OSError where a folder cannot be read: a list that lacks files without a word would pass for the whole.
    """

    def refuse(error: OSError) -> None:
        raise error

    found: list[str] = []
    for parent, _, names in os.walk(folder, onerror=refuse):
        found += [Path(parent, name).relative_to(folder).as_posix() for name in names]
    return sorted(found, key=lambda path: path.encode())


def sums(files: Iterable[tuple[str, str]]) -> str:
    """`(digest, path)` pairs in the format that `sha256sum --check` reads, sorted by path."""
    return "".join(f"{digest}  {path}\n" for digest, path in sorted(files, key=lambda pair: pair[1].encode()))
