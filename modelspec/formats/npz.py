"""npz files: read without pickle and without trusting their headers, written so that equal arrays give equal bytes."""

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelspec.errors import fail

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_RATIO = 200
"""A member that inflates more than this is a bomb, not data."""


def read(path: Path) -> "dict[str, NDArray[Any]]":
    """The arrays by name, in the file's order. Raises MS509 for a damaged file, MS612 for objects, MS613 for a bomb."""
    import numpy as np

    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name in arrays:
                    raise fail(
                        "MS613", f"{path.name} holds {name!r} twice", help="write the file again with numpy.savez"
                    )
                if member.file_size > MAX_RATIO * max(member.compress_size, 1024):
                    raise fail(
                        "MS613",
                        f"{name!r} in {path.name} inflates {member.file_size} bytes from {member.compress_size}",
                    )
                with archive.open(member) as stream:
                    _check_header(stream, member.file_size, name, path)
                with archive.open(member) as stream:
                    arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise fail(
            "MS509", f"{path.name} is not a readable npz file: {error}", help="write it with numpy.savez"
        ) from error
    return arrays


def _check_header(stream: Any, size: int, name: str, path: Path) -> None:
    """The array that the header promises must be the one that is there, and hold no objects."""
    import numpy as np

    version = np.lib.format.read_magic(stream)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(stream)
    if dtype.hasobject:
        raise fail(
            "MS612",
            f"{name!r} in {path.name} holds Python objects, which load as pickle",
            help="save numbers, or text as a fixed-width string array (dtype str)",
        )
    if stream.tell() + math.prod(shape) * dtype.itemsize != size:
        raise fail("MS613", f"{name!r} in {path.name} promises {shape} {dtype} and does not hold it")


def write(path: Path, arrays: "Mapping[str, NDArray[Any]]") -> None:
    """Write the arrays, uncompressed, in the order given; equal arrays give equal bytes. Objects raise ValueError."""
    import numpy as np

    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            if array.dtype.kind == "O":
                # ONNX Runtime gives text as Python objects; a fixed-width array needs no pickle.
                array = array.astype(np.str_)
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.external_attr = 0o644 << 16
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(
                    stream, np.ascontiguousarray(array) if array.ndim else array, version=(1, 0), allow_pickle=False
                )
