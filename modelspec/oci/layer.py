"""Layers as tars whose bytes follow from names and contents alone: sorted, owned by root, of one time, uncompressed.

PAX, because the older format ends at 8 GiB. Every folder on the way to a file is an entry of its own. Nothing but folders
and plain files goes in: no links, no devices, no extended attributes.
"""

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from modelspec import digest
from modelspec.errors import fail
from modelspec.oci.descriptor import OCI_LAYER, Descriptor

_COPY = 1 << 20


@dataclass(frozen=True)
class Content:
    """What a layer holds under one name: bytes, or those of a file."""

    source: bytes | Path
    executable: bool = False


class _Hashing:
    """Writes to a file, and knows the digest and the length of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.running = digest.Running()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self.running.add(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size


def write(contents: Mapping[str, Content], target: Path, epoch: int = 0) -> Descriptor:
    """Write the tar of `contents` (path in the image, without a leading slash -> content). Raises MS540 for an odd path."""
    folders = {parent.as_posix() for name in contents for parent in _checked(name).parents} - {"."}
    if clash := folders & contents.keys():
        raise fail("MS540", f"{min(clash)!r} is a file and a folder of one layer", help="rename one of them")
    with target.open("wb") as file:
        writer = _Hashing(file)
        # As an object with write and tell, which is all that is used: what is written is hashed on the way.
        with tarfile.open(fileobj=writer, mode="w", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
            tar.copybufsize = _COPY
            for name in sorted({*folders, *contents}, key=str.encode):
                content = contents.get(name)
                _add(tar, name, content, epoch)
    return Descriptor(OCI_LAYER, f"sha256:{writer.running.sha256}", writer.size)


def _checked(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    odd = any(ord(char) < 32 for char in name) or not name.isprintable()
    if not name or odd or path.is_absolute() or path.as_posix() != name or {".", ".."} & set(path.parts):
        raise fail("MS540", f"{name!r} cannot be the name of a file in an image", help="rename the file")
    return path


def _add(tar: tarfile.TarFile, name: str, content: Content | None, epoch: int) -> None:
    info = tarfile.TarInfo(name)
    info.mtime = epoch
    if content is None:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
        return
    info.mode = 0o755 if content.executable else 0o644
    if isinstance(content.source, bytes):
        info.size = len(content.source)
        tar.addfile(info, io.BytesIO(content.source))
        return
    with content.source.open("rb") as file:
        info.size = content.source.stat().st_size
        tar.addfile(info, file)
