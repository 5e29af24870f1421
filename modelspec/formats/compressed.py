"""Compressed files: written as the same bytes each time, and read only up to the size and to the digest that is promised.

A few compressed bytes can stand for any number of zeros, so nothing is unpacked of which no one says how long it is.
"""

import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

from modelspec import digest
from modelspec.errors import ModelspecError, fail

Compression = Literal["gzip", "xz", "zstd"]

SUFFIXES: dict[Compression, str] = {"gzip": ".gz", "xz": ".xz", "zstd": ".zst"}
MAX_RATIO, HARMLESS = 2000, 1 << 26
"""Unpacked bytes for each packed one, beyond which a file is no model (deflate reaches 1,032 on zeros); of small files it
does not matter."""
MAX_MEMORY = 1 << 27
"""What a decoder may take; the highest level of xz takes 65 MiB, that of zstd 8 MiB."""
_CHUNK = 1 << 20


def unpacked_name(name: str) -> str:
    """The name without the suffix of a compression; "" where it has none."""
    return next((name.removesuffix(suffix) for suffix in SUFFIXES.values() if name.endswith(suffix)), "")


def compress(source: Path, target: Path, compression: Compression, level: int) -> None:
    """Write `source` compressed: without time or name, in one thread."""
    with source.open("rb") as read, target.open("wb") as write:
        if compression == "zstd":
            packer = _zstandard().ZstdCompressor(level=level, write_checksum=True, threads=0)
            packer.copy_stream(read, write, size=source.stat().st_size)
            return
        # By zlib itself: what the gzip module writes into the header changed between versions of Python.
        stream = (
            zlib.compressobj(level, wbits=31)
            if compression == "gzip"
            else lzma.LZMACompressor(lzma.FORMAT_XZ, lzma.CHECK_CRC64, level)
        )
        while chunk := read.read(_CHUNK):
            write.write(stream.compress(chunk))
        write.write(stream.flush())


def decompress(source: Path, target: Path, compression: Compression, size: int, sha256: str) -> None:
    """Write what `source` holds. Raises MS613 when that is unsound, not exactly `size` bytes, or impossibly many; MS602 when
    it has another digest. Then the target is gone."""
    packed = source.stat().st_size
    if not 0 <= size <= max(MAX_RATIO * packed, HARMLESS):
        raise _unsafe(source, f"has {packed} bytes, which cannot stand for {size}")
    running, length = digest.Running(), 0
    try:
        with source.open("rb") as read, target.open("wb") as write:
            for chunk in _CHUNKS[compression](read, source):
                length += len(chunk)
                if length > size:
                    raise _unsafe(source, f"holds more than the {size} bytes that it should")
                running.add(chunk)
                write.write(chunk)
        if length != size:
            raise _unsafe(source, f"holds {length} bytes and should hold {size}")
        if running.sha256 != sha256:
            told = f"{sha256[:12]} is said, {running.sha256[:12]} is there"
            raise fail("MS602", f"what {source.name} holds does not match its digest: {told}", help=_AGAIN)
    except ModelspecError:
        target.unlink(missing_ok=True)
        raise


_AGAIN = "build again, or fetch it again from where it comes"


def _unsafe(source: Path, what: str) -> ModelspecError:
    return fail("MS613", f"{source.name} {what}", help=_AGAIN)


def _deflated(read: BinaryIO, source: Path) -> Iterator[bytes]:
    stream = zlib.decompressobj(wbits=31)
    try:
        while not stream.eof and (data := stream.unconsumed_tail or read.read(_CHUNK)):
            yield stream.decompress(data, _CHUNK)
    except zlib.error as error:
        raise _unsafe(source, f"is no sound gzip file: {error}") from error
    _require_end(source, read, ended=stream.eof, rest=stream.unused_data)


def _lzma(read: BinaryIO, source: Path) -> Iterator[bytes]:
    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_MEMORY)
    try:
        while not stream.eof:
            data = read.read(_CHUNK) if stream.needs_input else b""
            if stream.needs_input and not data:
                break
            yield stream.decompress(data, _CHUNK)
    except lzma.LZMAError as error:
        raise _unsafe(source, f"is no sound xz file: {error}") from error
    _require_end(source, read, ended=stream.eof, rest=stream.unused_data)


def _require_end(source: Path, read: BinaryIO, *, ended: bool, rest: bytes) -> None:
    if not ended:
        raise _unsafe(source, "is cut off")
    if rest or read.read(1):
        raise _unsafe(source, "goes on after its end")


def _zstd(read: BinaryIO, source: Path) -> Iterator[bytes]:
    zstandard = _zstandard()
    decoder = zstandard.ZstdDecompressor(max_window_size=MAX_MEMORY)
    try:
        # Across frames, so that what follows the first is not passed over.
        with decoder.stream_reader(read, read_across_frames=True, closefd=False) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except zstandard.ZstdError as error:
        raise _unsafe(source, f"is no sound zstd file: {error}") from error


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        message = "zstandard is not installed, and a file is compressed by zstd"
        raise fail("MS401", message, help="pip install 'modelspec-build[onnx]'") from error
    return zstandard


_CHUNKS = {"gzip": _deflated, "xz": _lzma, "zstd": _zstd}
