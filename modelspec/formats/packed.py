"""Published files that are compressed: what runtime.json says of them, and the folder as the runtime opens it.

    "package": {"compression": "gzip", "files": [{"path": "model.onnx", "packed": "model.onnx.gz", "size": 1, "sha256": ""}]}

`path`, `size` and `sha256` are those of the unpacked file.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelspec import digest
from modelspec.errors import fail
from modelspec.formats import compressed

RUNTIME, KEY = "runtime.json", "package"
_NAME = r"^[A-Za-z0-9_][A-Za-z0-9._-]*$"
"""A plain file beside runtime.json."""


class PackedFile(BaseModel):
    """One file."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    path: Annotated[str, Field(pattern=_NAME)]
    packed: Annotated[str, Field(pattern=_NAME)]
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Packed(BaseModel):
    """All files of a target that are compressed."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    compression: Literal["gzip", "xz", "zstd"]
    files: tuple[PackedFile, ...] = ()


def pack(folder: Path, target: Path, compression: compressed.Compression, level: int) -> Packed:
    """Compress every file of an artifact into `target`."""
    files = []
    for name in digest.files_under(folder):
        source, packed = folder / name, f"{name}{compressed.SUFFIXES[compression]}"
        compressed.compress(source, target / packed, compression, level)
        size, sha256 = source.stat().st_size, digest.of_file(source)
        files.append(PackedFile(path=name, packed=packed, size=size, sha256=sha256))
    return Packed(compression=compression, files=tuple(files))


def read(runtime: bytes) -> Packed | None:
    """What the bytes of a runtime.json say; None where nothing is compressed. Raises MS604 for what makes no sense."""
    try:
        value: Any = json.loads(runtime)
        said = value.get(KEY) if isinstance(value, dict) else None
        return None if said is None else Packed.model_validate_json(json.dumps(said))
    except (ValueError, ValidationError) as error:
        reason = re.sub(r"\s+", " ", str(error))[:200]
        raise fail("MS604", f"{RUNTIME} does not say how its files are compressed: {reason}") from error


def unpack(said: Packed, folder: Path, target: Path) -> None:
    """Write each file into `target`. Raises MS613, MS602 or MS401."""
    target.mkdir(parents=True, exist_ok=True)
    for file in said.files:
        if not (folder / file.packed).is_file():
            raise fail("MS603", f"{file.packed} is missing", help="build again, or fetch it again from where it comes")
        compressed.decompress(folder / file.packed, target / file.path, said.compression, file.size, file.sha256)


def without_contents(runtime: Any) -> Any:
    """A runtime.json as a value, without the sizes and digests of what is compressed."""
    said = runtime.get(KEY) if isinstance(runtime, dict) else None
    if not isinstance(said, dict) or not isinstance(said.get("files"), list):
        return runtime
    files = [
        {k: v for k, v in file.items() if k not in {"size", "sha256"}}
        for file in said["files"]
        if isinstance(file, dict)
    ]
    return {**runtime, KEY: {**said, "files": files}}


def opened(folder: Path, place: Path) -> Path:
    """The folder that a target can open: `folder` itself, or `place` with what is compressed in `folder` unpacked."""
    runtime = folder / RUNTIME
    said = read(runtime.read_bytes()) if runtime.is_file() else None
    if said is None:
        return folder
    if not place.is_dir():
        unpack(said, folder, place)
    return place
