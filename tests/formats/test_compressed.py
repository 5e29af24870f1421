"""Compressed files: the same bytes each time; read to the promised size and digest, and not one byte further."""

import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard

from modelspec import digest
from modelspec.errors import ModelspecError
from modelspec.formats.compressed import HARMLESS, SUFFIXES, Compression, compress, decompress, unpacked_name

KINDS: tuple[Compression, ...] = ("gzip", "xz", "zstd")
LEVELS = {"gzip": (1, 9), "xz": (0, 6), "zstd": (1, 19)}
BOMB = 1 << 28
"""Zeros that no file of these tests is written with."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two MiB, most of it zero, as pruned weights are."""
    random = np.random.default_rng(0)
    data = random.integers(0, 256, 1 << 21).astype(np.uint8) * (random.random(1 << 21) < 0.2)
    (tmp_path / "model.onnx").write_bytes(data.astype(np.uint8).tobytes())
    return tmp_path / "model.onnx"


def refused(path: Path, kind: Compression, size: int, sha256: str = "0" * 64) -> str:
    target = path.with_name("unpacked")
    with pytest.raises(ModelspecError) as caught:
        decompress(path, target, kind, size, sha256)
    assert not target.exists()
    (problem,) = caught.value.diagnostics
    return f"{problem.code} {problem.message}"


@pytest.mark.parametrize("kind", KINDS)
def test_it_comes_back_and_is_the_same_bytes_each_time(source: Path, kind: Compression) -> None:
    sizes: list[int] = []
    size, sha256 = source.stat().st_size, digest.of_file(source)
    for level in LEVELS[kind]:
        made = [source.with_name(f"{index}{SUFFIXES[kind]}") for index in range(2)]
        for path in made:
            compress(source, path, kind, level)
        assert made[0].read_bytes() == made[1].read_bytes()
        decompress(made[0], source.with_name("back"), kind, size, sha256)
        assert digest.of_file(source.with_name("back")) == sha256
        assert unpacked_name(made[0].name) == "0"
        sizes.append(made[0].stat().st_size)
    assert sizes[1] < sizes[0] < 0.5 * size


def test_other_programs_read_them_and_find_no_time_or_name(source: Path) -> None:
    data = source.read_bytes()
    for kind in KINDS:
        compress(source, source.with_name(kind), kind, 6)
    packed = source.with_name("gzip").read_bytes()
    assert (gzip.decompress(packed), packed[3], packed[4:8]) == (data, 0, bytes(4))
    assert lzma.decompress(source.with_name("xz").read_bytes()) == data
    assert zstandard.ZstdDecompressor().decompress(source.with_name("zstd").read_bytes()) == data


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_file(tmp_path: Path, kind: Compression) -> None:
    (tmp_path / "empty").write_bytes(b"")
    compress(tmp_path / "empty", tmp_path / "packed", kind, 6)
    decompress(tmp_path / "packed", tmp_path / "back", kind, 0, digest.of_bytes(b""))
    assert (tmp_path / "back").read_bytes() == b""


ZEROS: dict[Compression, Callable[[int], bytes]] = {
    "gzip": lambda size: gzip.compress(bytes(size), mtime=0),
    "xz": lambda size: lzma.compress(bytes(size), preset=0),
    "zstd": lambda size: zstandard.ZstdCompressor().compress(bytes(size)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_is_left_at_the_promised_size(tmp_path: Path, kind: Compression) -> None:
    (tmp_path / "bomb").write_bytes(ZEROS[kind](BOMB))
    assert refused(tmp_path / "bomb", kind, 1000) == "MS613 bomb holds more than the 1000 bytes that it should"


@pytest.mark.parametrize("kind", KINDS)
def test_an_impossible_promise_is_not_tried(tmp_path: Path, kind: Compression) -> None:
    (tmp_path / "bomb").write_bytes(ZEROS[kind](1000))
    packed = (tmp_path / "bomb").stat().st_size
    message = f"MS613 bomb has {packed} bytes, which cannot stand for {HARMLESS + 1}"
    assert refused(tmp_path / "bomb", kind, HARMLESS + 1) == message
    assert refused(tmp_path / "bomb", kind, -1).startswith("MS613")


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_named(source: Path, kind: Compression) -> None:
    packed, size, sha256 = source.with_name("packed"), source.stat().st_size, digest.of_file(source)
    compress(source, packed, kind, 6)
    data = packed.read_bytes()
    assert refused(packed, kind, size, "a" * 64).startswith("MS602 what packed holds does not match its digest")
    assert refused(packed, kind, size - 1, sha256).startswith("MS613 packed holds more than")
    assert refused(packed, kind, size + 1, sha256).startswith("MS613 packed holds")
    for damaged in (data[: len(data) // 2], data + b"more", data[:500] + bytes(20) + data[520:], b"nothing of it"):
        packed.write_bytes(damaged)
        assert refused(packed, kind, size, sha256).startswith("MS613 packed ")
    packed.write_bytes(data + data)
    assert refused(packed, kind, size, sha256).startswith("MS613 packed ")


def test_a_window_beyond_measure_is_refused(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=30)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    (tmp_path / "wide").write_bytes(packer.compress(bytes(1 << 20)) + packer.flush())
    assert refused(tmp_path / "wide", "zstd", 1 << 20).startswith("MS613 wide is no sound zstd file")


def test_a_broken_checksum_of_gzip_is_found(source: Path) -> None:
    packer = zlib.compressobj(wbits=31)
    data = packer.compress(b"weights") + packer.flush()
    (source.with_name("packed")).write_bytes(data[:-8] + bytes(4) + data[-4:])
    assert "is no sound gzip file" in refused(source.with_name("packed"), "gzip", 7)
