"""npz files: read without pickle and without trusting their headers, written so that equal arrays give equal bytes."""

import math
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelspec.errors import fail
from modelspec.formats import archive, magic

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read(path: Path) -> "dict[str, NDArray[Any]]":
    """The arrays by name, in the file's order. Raises MS509 for a damaged file, MS612 for objects, MS613 and MS614 for
    an unsafe one."""
    import numpy as np

    arrays: dict[str, NDArray[Any]] = {}
    try:
        with path.open("rb") as file:
            head = file.read(magic.HEAD)
            if not head.startswith(b"PK") and (kind := magic.kind(head)):
                raise fail("MS614", f"{path.name} is {kind}, not an npz file", help="write it with numpy.savez")
            with archive.open_zip(file, path.name) as members:
                for member in members.infolist():
                    name = member.filename.removesuffix(".npy")
                    if name in arrays:
                        raise fail(
                            "MS613", f"{path.name} holds {name!r} twice", help="write the file again with numpy.savez"
                        )
                    with members.open(member) as stream:
                        check_header(stream, member.file_size, name, path.name)
                    with members.open(member) as stream:
                        arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
                        # The checksum is compared at the end only.
                        stream.read(1)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError) as error:
        raise fail(
            "MS509", f"{path.name} is not a readable npz file: {error}", help="write it with numpy.savez"
        ) from error
    return arrays


def check_header(stream: Any, size: int, name: str, file: str) -> None:
    """The array that the header of an .npy member promises must be the one that is there, and hold no objects."""
    import numpy as np

    version = np.lib.format.read_magic(stream)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, _, dtype = reader(stream)
    except (tokenize.TokenError, SyntaxError, RecursionError, TypeError) as error:
        raise ValueError("the header of an array cannot be read") from error
    if dtype.hasobject:
        raise fail(
            "MS612",
            f"{name!r} in {file} holds Python objects, which load as pickle",
            help="save numbers, or text as a fixed-width string array (dtype str)",
        )
    backed = dtype.itemsize > 0 and all(type(length) is int and length >= 0 for length in shape)
    if not backed or stream.tell() + math.prod(shape) * dtype.itemsize != size:
        raise fail("MS613", f"{name!r} in {file} promises {shape} {dtype} and does not hold it")


def write(path: Path, arrays: "Mapping[str, NDArray[Any]]") -> None:
    """Write the arrays, uncompressed, in the order given; equal arrays give equal bytes. Objects raise ValueError."""
    import numpy as np

    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, array in arrays.items():
            if array.dtype.kind == "O":
                # ONNX Runtime gives text as Python objects; a fixed-width array needs no pickle.
                array = array.astype(np.str_)
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.external_attr = 0o644 << 16
            with file.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(
                    stream, np.ascontiguousarray(array) if array.ndim else array, version=(1, 0), allow_pickle=False
                )
