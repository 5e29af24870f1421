"""Published files that are compressed, for as long as the runtime loads them: never more bytes than promised, and those alone."""

import gzip
import hashlib
import lzma
import re
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from modelspec.runtime.errors import ENVIRONMENT, INTEGRITY, ServeError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
MAX_RATIO, HARMLESS = 2000, 1 << 26
"""Unpacked bytes for each packed one beyond which a file is no model; of small files it does not matter."""
_CHUNK, _WINDOW = 1 << 20, 1 << 27


@dataclass(frozen=True)
class PackedFile:
    """One file: `path`, `size` and `sha256` are those of the unpacked one."""

    compression: str
    path: str
    packed: str
    size: int
    sha256: str


def packed_files(runtime: dict[str, Any]) -> tuple[PackedFile, ...]:
    """What runtime.json says. Raises ValueError, TypeError or KeyError when it makes no sense."""
    said = runtime.get("package")
    if said is None:
        return ()
    if said["compression"] not in {"gzip", "xz", "zstd"}:
        raise ValueError(f"the compression {said['compression']!r} is not known")
    files = tuple(
        PackedFile(said["compression"], str(f["path"]), str(f["packed"]), int(f["size"]), str(f["sha256"]))
        for f in said["files"]
    )
    for file in files:
        if not _NAME.fullmatch(file.path) or not _NAME.fullmatch(file.packed):
            raise ValueError(f"{file.packed!r} does not lie beside runtime.json")
    return files


@contextmanager
def opened(model: Path, files: tuple[PackedFile, ...]) -> Iterator[Path]:
    """The model as the runtime can load it, for the length of the block."""
    if not files:
        yield model
        return
    with TemporaryDirectory(prefix="modelspec-") as place:
        for file in files:
            _unpack(file, model.parent / file.packed, Path(place) / file.path)
        yield Path(place) / model.name


def _unpack(file: PackedFile, source: Path, target: Path) -> None:
    try:
        possible = 0 <= file.size <= max(MAX_RATIO * source.stat().st_size, HARMLESS)
        size, found = 0, hashlib.sha256()
        with _reader(file.compression, source) as stream, target.open("xb") as out:
            while possible and (chunk := stream.read(_CHUNK)):
                size += len(chunk)
                possible = size <= file.size
                found.update(chunk)
                out.write(chunk)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ServeError(f"{file.packed} cannot be unpacked: {error}", INTEGRITY) from error
    if not possible or size != file.size or found.hexdigest() != file.sha256:
        raise ServeError(f"{file.packed} does not hold what runtime.json promises", INTEGRITY)


def _reader(compression: str, source: Path) -> AbstractContextManager[Any]:
    if compression == "gzip":
        return gzip.open(source)
    return lzma.open(source) if compression == "xz" else _zstd(source)


@contextmanager
def _zstd(source: Path) -> Iterator[Any]:
    try:
        import zstandard
    except ImportError as error:
        raise ServeError(f"{source.name} needs zstandard: pip install zstandard", ENVIRONMENT) from error

    try:
        with (
            source.open("rb") as file,
            zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(file) as stream,
        ):
            yield stream
    except zstandard.ZstdError as error:
        raise OSError(str(error)) from error
