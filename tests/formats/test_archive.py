"""Zip files on which readers could disagree, and those that unpack to far more than they hold."""

import io
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from modelspec.errors import ModelspecError
from modelspec.formats import archive, npz


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        for name, data in members:
            made.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, method)
    return buffer.getvalue()


def opened(data: bytes) -> list[str]:
    with archive.open_zip(io.BytesIO(data), "a.zip") as found:
        return found.namelist()


PLAIN = zipped(("a", b"first"), ("b", b"second"))


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _directory(data: bytes) -> int:
    return data.index(b"PK\1\2")


def _second(data: bytes) -> int:
    return data.index(b"PK\1\2", _directory(data) + 1)


def _end(data: bytes) -> int:
    return data.rindex(b"PK\5\6")


def _counted(data: bytes, count: int) -> bytes:
    return patched(data, _end(data) + 8, struct.pack("<2H", count, count))


def _with_gap() -> bytes:
    """Bytes between the last member and the directory, which only some readers would see."""
    start = _directory(PLAIN)
    hidden = zipped(("c", b"third"))[: 31 + 5]
    data = PLAIN[:start] + hidden + PLAIN[start:]
    return patched(data, _end(data) + 16, struct.pack("<I", start + len(hidden)))


def _same_member_twice() -> bytes:
    """Two entries of the directory for one member: how bombs overlap."""
    return patched(PLAIN, _second(PLAIN) + 42, struct.pack("<I", 0))


def _streamed(size: int) -> bytes:
    """A member whose sizes follow it, as archives that go through a pipe have it."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.parts: list[bytes] = []

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.parts.append(bytes(data))  # type: ignore[call-overload]
            return len(self.parts[-1])

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a", bytes(range(256)) * size)
        made.writestr("b", b"second")
    return b"".join(pipe.parts)


UNSAFE: dict[str, Callable[[], bytes]] = {
    "prepended bytes": lambda: b"#!/bin/sh\nexit\n" + PLAIN,
    "prepended archive": lambda: PLAIN + zipped(("c", b"third")),
    "trailing bytes": lambda: PLAIN + b"\0" * 100,
    "trailing byte": lambda: PLAIN + b"\n",
    "comment": lambda: patched(PLAIN, len(PLAIN) - 2, b"\5\0") + b"hello",
    "gap": _with_gap,
    "one member twice": _same_member_twice,
    "local name": lambda: patched(PLAIN, 30, b"c"),
    "directory name": lambda: patched(PLAIN, _directory(PLAIN) + 46, b"c"),
    "local size": lambda: patched(PLAIN, 18, struct.pack("<2I", 4, 4)),
    "local full size": lambda: patched(PLAIN, 22, struct.pack("<I", 6)),
    "directory size": lambda: patched(PLAIN, _directory(PLAIN) + 20, struct.pack("<2I", 4, 4)),
    "both full sizes": lambda: patched(patched(PLAIN, 22, b"\xff"), _directory(PLAIN) + 24, b"\xff"),
    "local checksum": lambda: patched(PLAIN, 14, b"\0\0\0\0"),
    "local method": lambda: patched(PLAIN, 8, b"\x08\0"),
    "local flags": lambda: patched(PLAIN, 6, b"\x01\0"),
    "encrypted": lambda: patched(patched(PLAIN, 6, b"\x01\0"), _directory(PLAIN) + 8, b"\x01\0"),
    "strongly encrypted": lambda: patched(patched(PLAIN, 6, b"\x40\0"), _directory(PLAIN) + 8, b"\x40\0"),
    "bzip2": lambda: zipped(("a", b"x" * 99), method=zipfile.ZIP_BZIP2),
    "lzma": lambda: zipped(("a", b"x" * 99), method=zipfile.ZIP_LZMA),
    "first part of several": lambda: patched(PLAIN, _end(PLAIN) + 4, b"\1\0"),
    "count too small": lambda: _counted(PLAIN, 1),
    "count of none": lambda: _counted(PLAIN, 0),
    "count too large": lambda: _counted(PLAIN, 3),
    "count far too large": lambda: _counted(PLAIN, 65_535),
    "directory elsewhere": lambda: patched(PLAIN, _end(PLAIN) + 16, struct.pack("<I", _directory(PLAIN) - 1)),
    "duplicate": lambda: patched(patched(PLAIN, 30 + 5 + 31, b"a")[:], _second(PLAIN) + 46, b"a"),
    "name of the parent": lambda: zipped(("../a", b"x")),
    "name in the parent": lambda: zipped(("a/../../b", b"x")),
    "absolute name": lambda: zipped(("/a", b"x")),
    "name with a backslash": lambda: zipped(("a\\b", b"x")),
    "folder": lambda: zipped(("a/", b"")),
    "name with NUL": lambda: patched(patched(zipped(("abc", b"x")), 31, b"\0"), _directory(zipped(("abc", b"x"))) + 47, b"\0"),
    "name with a line break": lambda: zipped(("a\nb", b"x")),
    "bomb": lambda: zipped(("a", bytes(1 << 20)), method=zipfile.ZIP_DEFLATED),
    "many members": lambda: _counted(zipped(*((str(i), b"") for i in range(70_000))), 65_535),
    "64-bit end elsewhere": lambda: PLAIN[: _end(PLAIN)] + struct.pack("<4sIQI", b"PK\6\7", 0, 0, 1) + PLAIN[_end(PLAIN) :],
}  # fmt: skip


@pytest.mark.parametrize("name", UNSAFE)
def test_archives_that_readers_disagree_on_are_refused(name: str) -> None:
    with pytest.raises(ModelspecError) as caught:
        opened(UNSAFE[name]())
    (problem,) = caught.value.diagnostics
    assert problem.code == "MS613"
    assert "\n" not in problem.message
    assert "\0" not in problem.message


def test_the_standard_reader_alone_would_not_do() -> None:
    """It takes more than half of them."""
    taken = 0
    for make in UNSAFE.values():
        try:
            with zipfile.ZipFile(io.BytesIO(make())) as found:
                taken += bool(found.namelist())
        except (zipfile.BadZipFile, NotImplementedError):
            continue
    assert taken > len(UNSAFE) / 2


def _torch() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(3), "b": torch.ones(1000)}, buffer)
    return buffer.getvalue()


def _numpy(save: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    save(buffer, x=np.arange(10), y=np.ones((2, 3)))
    return buffer.getvalue()


@pytest.mark.parametrize("make", [
    lambda: PLAIN,
    zipped,
    lambda: zipped(("a/b/c.npy", b"x"), ("a/b/d.npy", b"")),
    lambda: zipped(("größe", b"x")),
    lambda: zipped(("a", b"ab" * 1000), method=zipfile.ZIP_DEFLATED),
    lambda: _streamed(10),
    _torch,
    lambda: _numpy(np.savez),
    lambda: _numpy(np.savez_compressed),
])  # fmt: skip
def test_what_libraries_write_passes(make: Callable[[], bytes]) -> None:
    data = make()
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        assert opened(data) == found.namelist()


@pytest.mark.parametrize("change", [b"\0", b"\xff"])
def test_sizes_after_a_member_are_compared(change: bytes) -> None:
    data = _streamed(10)
    place = data.index(b"PK\7\x08") + 4
    for offset in range(12):
        with pytest.raises(ModelspecError, match="MS613"):
            opened(patched(data, place + offset, bytes([data[place + offset] ^ 0x55])))


@pytest.mark.parametrize("make", [lambda: PLAIN, _torch, lambda: _numpy(np.savez_compressed), lambda: _streamed(1)])
def test_a_cut_archive_is_damaged_or_unsafe_at_every_byte(make: Callable[[], bytes]) -> None:
    data = make()
    for length in range(len(data)):
        with pytest.raises((ModelspecError, zipfile.BadZipFile)):
            opened(data[:length])


def test_members_that_are_larger_than_four_gigabytes_on_paper(tmp_path: Path) -> None:
    """The 64-bit sizes of the header are those that count."""
    npz.write(tmp_path / "a.npz", {"x": np.arange(3)})
    data = (tmp_path / "a.npz").read_bytes()
    assert opened(data) == ["x.npy"]
    place = data.index(struct.pack("<2H", 1, 16)) + 4
    with pytest.raises(ModelspecError, match="MS613"):
        opened(patched(data, place, struct.pack("<Q", 1 << 40)))


def test_a_bomb_costs_neither_memory_nor_time(tmp_path: Path) -> None:
    """A quarter of a megabyte that holds 256 megabytes."""
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(32 << 20, np.float64))
    assert (tmp_path / "bomb.npz").stat().st_size < 300_000
    tracemalloc.start()
    began = time.monotonic()
    with pytest.raises(ModelspecError, match=r"MS613 .*inflates"):
        npz.read(tmp_path / "bomb.npz")
    assert time.monotonic() - began < 2
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def refused(data: bytes, folder: Path) -> tuple[str, str]:
    (folder / "a.npz").write_bytes(data)
    with pytest.raises(ModelspecError) as caught:
        npz.read(folder / "a.npz")
    (problem,) = caught.value.diagnostics
    return problem.code, problem.message


def header(text: str, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text.encode() + data


def promise(shape: str, descr: str = "'<f8'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


@pytest.mark.parametrize(("member", "code"), [
    (header(promise("(1099511627776,)")), "MS613"),
    (header(promise("(4,)"), bytes(31)), "MS613"),
    (header(promise("(4,)"), bytes(33)), "MS613"),
    (header(promise("(-1,)"), bytes(8)), "MS613"),
    (header(promise("(-2, -2)"), bytes(32)), "MS613"),
    (header(promise("(9999999999, 9999999999)", "'|V0'")), "MS613"),
    (header(promise("(2,)", "'|O'"), bytes(16)), "MS612"),
    (header(promise("(2,)", "[('a', '<f8'), ('b', '|O')]"), bytes(32)), "MS612"),
    (header(promise("(1,)", "('|O', (2,))"), bytes(16)), "MS612"),
    (header(promise("(__import__('os').getpid(),)")), "MS509"),
    (header(promise("(" + "1, " * 5000 + ")")), "MS509"),
    (header("{" * 5000), "MS509"),
    (header("(" * 90), "MS509"),
    (header("\0"), "MS509"),
    (header("[]"), "MS509"),
    (header(promise("(1,)", "[('a', 'no such type')]")), "MS509"),
    (header(promise("('a',)")), "MS509"),
    (header(promise("(True,)", "'|b1'"), b"\1"), "MS613"),
    (header(promise("(1,)"), bytes(8), b"\x09\x09"), "MS509"),
    (b"\x80\x04]\x94.", "MS509"),
    (b"", "MS509"),
])  # fmt: skip
def test_arrays_hold_what_their_headers_promise(member: bytes, code: str, tmp_path: Path) -> None:
    assert refused(zipped(("x.npy", member)), tmp_path)[0] == code


def test_two_names_for_one_array_are_refused(tmp_path: Path) -> None:
    array = io.BytesIO()
    np.save(array, np.ones(2))
    code, message = refused(zipped(("x", array.getvalue()), ("x.npy", array.getvalue())), tmp_path)
    assert (code, "twice" in message) == ("MS613", True)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_changed_byte_of_an_array_is_noticed(method: int, tmp_path: Path) -> None:
    array = io.BytesIO()
    np.save(array, np.random.default_rng(0).normal(size=100))
    data = zipped(("x.npy", array.getvalue()), method=method)
    for place in range(200, 700, 50):
        assert refused(patched(data, place, bytes([data[place] ^ 1])), tmp_path)[0] in {"MS509", "MS613"}


@pytest.mark.parametrize(("data", "kind"), [
    (b"7z\xbc\xaf\x27\x1c" + bytes(60), "a 7z archive"),
    (b"\x1f\x8b\x08" + bytes(60), "a gzip file"),
    (bytes(257) + b"ustar\x0000" + bytes(255), "a tar archive"),
    (b"\x80\x04]\x94.", "a pickle"),
    (b"\x93NUMPY\1\0" + bytes(60), "an .npy file"),
    (b"\x7fELF" + bytes(60) + PLAIN, "a program"),
])  # fmt: skip
def test_other_kinds_of_files_are_named(data: bytes, kind: str, tmp_path: Path) -> None:
    assert refused(data, tmp_path) == ("MS614", f"a.npz is {kind}, not an npz file")
