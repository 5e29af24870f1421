"""Zip files: looked at whole before any member is read, so that no two readers see different archives.

Readers disagree on what a zip file is: some trust the directory at its end, others the header before each member, and
all of them skip what lies around. Only files on which every reader agrees pass: members one after the other from the
first byte on, each under the same name and sizes in both places, then the directory, then the end record, then nothing.
"""

import os
import re
import struct
import zipfile
from typing import BinaryIO

from modelspec.errors import ModelspecError, fail

MAX_RATIO = 200
"""A member that inflates more than this is a bomb, not data."""

MAX_MEMBERS = 65_535
"""What a zip file without the 64-bit extension can count."""

_LOCAL, _END, _END64 = struct.Struct("<4s5H3I2H"), struct.Struct("<4s4H2IH"), struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_ENCRYPTED, _DESCRIBED_AFTER, _UTF8 = 0x2041, 0x0008, 0x0800


def open_zip(file: BinaryIO, name: str) -> zipfile.ZipFile:
    """The archive, ready to be read. Raises MS613 for an unsafe one, BadZipFile for what is no archive or was cut off."""
    start, count = _check_end(file, name)
    try:
        archive = zipfile.ZipFile(file)
    except NotImplementedError as error:
        raise zipfile.BadZipFile(str(error)) from error
    if len(archive.infolist()) != count:
        raise _unsafe(name, f"counts {count} members and names {len(archive.infolist())}")
    position = 0
    for member in sorted(archive.infolist(), key=lambda member: member.header_offset):
        position = _check_member(file, member, position, name)
    if position != start:
        raise _unsafe(name, f"has {start - position} bytes that belong to no member")
    _check_names(archive, name)
    _check_sizes(archive, name)
    return archive


def _unsafe(name: str, what: str) -> ModelspecError:
    return fail("MS613", f"{name} {what}", help="write the file again with the library that made it")


def _check_end(file: BinaryIO, name: str) -> tuple[int, int]:
    """Where the directory starts, and how many members it should name."""
    size = file.seek(0, os.SEEK_END)
    if size < _END.size:
        raise zipfile.BadZipFile("it is too short")
    signature, disk, first, here, count, length, start, comment = _END.unpack(_at(file, size - _END.size, _END.size))
    if signature != b"PK\5\6" or comment:
        if zipfile.is_zipfile(file):
            raise _unsafe(name, "goes on after its end")
        raise zipfile.BadZipFile("it was cut off, or is no archive")
    end = size - _END.size
    if end >= _LOCATOR.size and _at(file, end - _LOCATOR.size, 4) == b"PK\6\7":
        _, _, end64, _ = _LOCATOR.unpack(_at(file, end - _LOCATOR.size, _LOCATOR.size))
        if end64 != (end := end - _LOCATOR.size - _END64.size):
            raise _unsafe(name, "has an end record that is not at its end")
        said = (here, count, length, start)
        signature, _, _, _, disk, first, here, count, length, start = _END64.unpack(_at(file, end, _END64.size))
        largest = (0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
        wide = zip(said, (here, count, length, start), largest, strict=True)
        if signature != b"PK\6\6" or any(short not in (long, most) for short, long, most in wide):
            raise _unsafe(name, "has two end records that differ")
    if disk or first or here != count or start + length != end:
        raise _unsafe(name, "has bytes before its first member, or is one part of several")
    if count > MAX_MEMBERS or length < count * 46:
        raise _unsafe(name, f"counts {count} members")
    return start, count


def _check_member(file: BinaryIO, member: zipfile.ZipInfo, position: int, name: str) -> int:
    """The header before a member agrees with the directory; returns where the next one must start."""
    shown = repr(member.orig_filename[:80])
    if member.header_offset != position:
        raise _unsafe(name, f"has members that overlap or lie apart, at {shown}")
    fixed = _at(file, position, _LOCAL.size)
    if len(fixed) < _LOCAL.size:
        raise zipfile.BadZipFile("it was cut off")
    signature, _, flags, method, _, _, crc, packed, full, named, extra = _LOCAL.unpack(fixed)
    variable = _at(file, position + _LOCAL.size, named + extra)
    written = variable[:named].decode("utf-8" if flags & _UTF8 else "cp437", errors="replace")
    same = (signature, flags, method, written) == (
        b"PK\3\4",
        member.flag_bits,
        member.compress_type,
        member.orig_filename,
    )
    if not flags & _DESCRIBED_AFTER:
        packed, full = _sizes(packed, full, variable[named:])
        same = same and (crc, packed, full) == (member.CRC, member.compress_size, member.file_size)
    if not same:
        raise _unsafe(name, f"says two things of its member {shown}")
    if flags & _ENCRYPTED or method not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise _unsafe(name, f"holds {shown} encrypted, or packed in an unusual way")
    if method == zipfile.ZIP_STORED and member.compress_size != member.file_size:
        raise _unsafe(name, f"says two things of its member {shown}")
    after: int = position + _LOCAL.size + named + extra + member.compress_size
    return after + (_descriptor(file, after, member, name) if flags & _DESCRIBED_AFTER else 0)


def _sizes(packed: int, full: int, extra: bytes) -> tuple[int, int]:
    """The sizes in a header; large ones are in its extra field number 1."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1 and length >= 16 and len(extra) >= 20 and packed == full == 0xFFFFFFFF:
            full, packed = struct.unpack_from("<2Q", extra, 4)
            break
        extra = extra[4 + length :]
    return packed, full


def _descriptor(file: BinaryIO, position: int, member: zipfile.ZipInfo, name: str) -> int:
    """The length of the sizes that follow a member which was written as a stream; they must be the true ones."""
    found = _at(file, position, 24)
    for mark in (b"PK\7\x08", b""):
        for layout in ("<I2Q", "<3I"):
            if layout == "<3I" and max(member.compress_size, member.file_size) > 0xFFFFFFFF:
                continue
            wanted = mark + struct.pack(layout, member.CRC, member.compress_size, member.file_size)
            if found.startswith(wanted):
                return len(wanted)
    raise _unsafe(name, f"says two things of its member {member.orig_filename[:80]!r}")


def _at(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    return file.read(length)


def _check_names(archive: zipfile.ZipFile, name: str) -> None:
    seen: set[str] = set()
    for member in archive.infolist():
        inner = member.orig_filename
        if re.search(r"[\x00-\x1f\x7f\\]", inner) or {"", ".", ".."} & set(inner.split("/")):
            raise _unsafe(name, f"has a member with the name {inner[:80]!r}")
        if inner in seen:
            raise _unsafe(name, f"holds {inner[:80]!r} twice")
        seen.add(inner)


def _check_sizes(archive: zipfile.ZipFile, name: str) -> None:
    for member in archive.infolist():
        if member.file_size > MAX_RATIO * max(member.compress_size, 1024):
            packed, full = member.compress_size, member.file_size
            raise fail(
                "MS613",
                f"{member.orig_filename[:80]!r} in {name} inflates {full} bytes from {packed}",
                help="save it without compression, if it is what you meant",
            )
