"""External data of an ONNX model: looked at in every place where a tensor can stand, then read into memory.

The data must be plain files beside the model, named without folders, not links, and hold every byte exactly once.
The library's own reader passes over sparse tensors, and its checker passes files that are too short.
"""

import stat
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from modelspec.errors import fail
from modelspec.formats.onnx_parts import Parts, shown
from modelspec.formats.onnx_tensor import is_external, size

if TYPE_CHECKING:
    from onnx import TensorProto

_KEYS = {"location", "offset", "length", "checksum"}


class _Range(NamedTuple):
    """The bytes of a tensor in a file."""

    start: int
    end: int
    tensor: "TensorProto"


def load(parts: Parts, folder: Path) -> None:
    """Put all external data into the model. Raises MS613 before a byte is read when any of it is unsafe."""
    files: dict[str, list[_Range]] = {}
    for tensor in parts.tensors:
        if is_external(tensor):
            location, found = _described(tensor)
            files.setdefault(location, []).append(found)
    for location, ranges in files.items():
        _check_file(folder, location, ranges)
        _check_overlap(location, ranges)
    for location, ranges in files.items():
        _read(folder / location, ranges)


def _described(tensor: "TensorProto") -> tuple[str, _Range]:
    entries: dict[str, str] = {}
    for entry in tensor.external_data:
        if entry.key not in _KEYS or entry.key in entries:
            raise fail(
                "MS613",
                f"the external data of {shown(tensor.name)} has the key {shown(entry.key)}, unknown or given twice",
                help="save the model again with onnx.save",
            )
        # As text, whatever it is: protobuf hands out bytes for what is not UTF-8.
        entries[entry.key] = str(entry.value)
    location = entries.get("location", "")
    # An asterisk is how ONNX Runtime marks an address in memory.
    outside = not location or location in {".", ".."} or location.startswith("*") or {"/", "\\", "\0"} & set(location)
    if outside:
        raise fail(
            "MS613",
            f"the external data of {shown(tensor.name)} is at {shown(location)}, not beside the model",
            help="save the model with its external data in one file beside it",
        )
    start, needed = _number(entries, "offset", tensor), size(tensor)
    if "length" in entries and _number(entries, "length", tensor) != needed:
        raise fail(
            "MS613",
            f"the external data of {shown(tensor.name)} is {entries['length']} bytes and should be {needed}",
            help="save the model again with onnx.save",
        )
    return location, _Range(start, start + needed, tensor)


def _number(entries: dict[str, str], key: str, tensor: "TensorProto") -> int:
    value = entries.get(key, "0")
    if not (value.isascii() and value.isdigit()) or len(value) > 18:
        raise fail("MS613", f"the external data of {shown(tensor.name)} has the {key} {shown(value)}")
    return int(value)


def _check_file(folder: Path, location: str, ranges: list[_Range]) -> None:
    try:
        status = (folder / location).lstat()
    except (OSError, ValueError) as error:
        raise fail(
            "MS613",
            f"the external data {shown(location)} of {shown(ranges[0].tensor.name)} is missing",
            help="name the folder that holds the model and its data as the artifact",
        ) from error
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise fail(
            "MS613",
            f"the external data {shown(location)} is a link, or not a plain file",
            help="copy the file instead of linking it",
        )
    last = max(ranges, key=lambda found: found.end)
    if last.end > status.st_size:
        raise fail(
            "MS613",
            f"the external data {shown(location)} is too short for {shown(last.tensor.name)}",
            help="copy the file again; it was cut off",
        )


def _check_overlap(location: str, ranges: list[_Range]) -> None:
    filled = sorted((found for found in ranges if found.end > found.start), key=lambda found: (found.start, found.end))
    for one, other in pairwise(filled):
        if other.start < one.end:
            raise fail(
                "MS613",
                f"{shown(one.tensor.name)} and {shown(other.tensor.name)} share bytes of {shown(location)}",
                help="save the model again with onnx.save",
            )


def _read(path: Path, ranges: list[_Range]) -> None:
    import onnx

    with path.open("rb") as file:
        for start, end, tensor in ranges:
            file.seek(start)
            tensor.raw_data = file.read(end - start)
            tensor.data_location = onnx.TensorProto.DEFAULT
            tensor.ClearField("external_data")
