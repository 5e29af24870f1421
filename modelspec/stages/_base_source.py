"""A base image as files: from a registry, from a layout, or from the tar of `docker save`."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from modelspec import digest
from modelspec.errors import ModelspecError, fail
from modelspec.oci import document
from modelspec.oci.descriptor import INDEXES, MANIFESTS, OCI_LAYER, Descriptor
from modelspec.oci.reference import Reference
from modelspec.oci.registry import Registry

_LARGEST_JSON = 8 << 20


class Image(NamedTuple):
    """What a base is: its config, and its layers, whose blobs have been brought."""

    config: dict[str, Any]
    layers: tuple[Descriptor, ...]


def from_registry(reference: Reference, into: Path, say: Callable[[str], None]) -> Image:
    """The image of a digest, its layers brought into the folder. Raises MS41x, MS541, MS653."""
    registry = Registry(reference.host, say=say)
    name = str(reference)
    config, layers = document.parts(registry.manifest(reference), name)
    scratch = into / "config"
    registry.pull_blob(reference.repository, config, scratch)
    said = _json(scratch.read_bytes(), name)
    scratch.unlink()
    for layer in layers:
        target = into / layer.digest.removeprefix("sha256:")
        if not target.exists():
            registry.pull_blob(reference.repository, layer, target)
    return Image(said, layers)


class Files:
    """A layout, in a folder or in a tar, or the tar of `docker save`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tar = None if path.is_dir() else _opened(path)

    def close(self) -> None:
        """Let go of the tar."""
        if self._tar is not None:
            self._tar.close()

    def has(self, name: str) -> bool:
        """Whether a file of this name is there."""
        if self._tar is None:
            return (self.path / name).is_file()
        return self._member(name) is not None

    def read(self, name: str) -> bytes:
        """A small file. Raises MS541."""
        with self._stream(name) as file:
            data = bytes(file.read(_LARGEST_JSON + 1))
        if len(data) > _LARGEST_JSON:
            raise _unusable(f"its {name} is too large")
        return data

    def bring(self, name: str, into: Path) -> tuple[str, int]:
        """Put a blob into a folder under its digest; returns digest and size. A file of the folder is moved, not copied."""
        draft = into / "draft"
        if self._tar is None:
            source = self.path / name
            if source.is_symlink() or not source.is_file():
                raise _unusable(f"it lacks {name}")
            source.rename(draft)
            sha256, size = digest.of_file(draft), draft.stat().st_size
        else:
            with self._stream(name) as file, draft.open("wb") as target:
                sha256, size = digest.copy_and_hash(file, target)
        draft.rename(into / sha256)
        return sha256, size

    def _stream(self, name: str) -> Any:
        if self._tar is None:
            try:
                return (self.path / name).open("rb")
            except OSError as error:
                raise _unusable(f"it lacks {name}") from error
        member = self._member(name)
        file = self._tar.extractfile(member) if member else None
        if file is None:
            raise _unusable(f"it lacks {name}")
        return file

    def _member(self, name: str) -> tarfile.TarInfo | None:
        assert self._tar is not None
        for spelling in (name, f"./{name}"):
            try:
                return self._tar.getmember(spelling)
            except KeyError:
                continue
        return None


def from_files(files: Files, platform: str, into: Path) -> Image:
    """The image for a platform, its layers brought into the folder. Raises MS541 and MS543."""
    try:
        return _from_layout(files, platform, into) if files.has("index.json") else _from_docker(files, into)
    except (tarfile.TarError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _unusable(f"it cannot be understood: {type(error).__name__}: {error}") from error


def _from_layout(files: Files, platform: str, into: Path) -> Image:
    found = document.entries(files.read("index.json"), "the base image")
    while True:
        fitting = [one for one in found if one.media_type in MANIFESTS and one.platform in {"", platform}]
        exact = [one for one in fitting if one.platform == platform] or fitting
        if exact:
            break
        indexes = [one for one in found if one.media_type in INDEXES]
        if not indexes:
            raise fail("MS543", f"the base image is not built for {platform}", help="use another base, or other platforms", path=("platforms",))  # fmt: skip
        found = document.entries(_verified(files, indexes[0]), "the base image")
    config, layers = document.parts(_verified(files, exact[0]), "the base image")
    said = _json(_verified(files, config), "the base image")
    for layer in layers:
        sha256 = layer.digest.removeprefix("sha256:")
        if not (into / sha256).exists() and files.bring(_blob(layer), into)[0] != sha256:
            raise _unusable(f"its layer {layer.digest} has other bytes")
    return Image(said, layers)


def _from_docker(files: Files, into: Path) -> Image:
    """What `docker save` writes: its layers are plain tars, named in any way."""
    images = json.loads(files.read("manifest.json"))
    if len(images) != 1:
        raise _unusable(f"it holds {len(images)} images")
    config = _json(files.read(images[0]["Config"]), "the base image")
    layers = []
    for name, diff_id in zip(images[0]["Layers"], config["rootfs"]["diff_ids"], strict=True):
        sha256, size = files.bring(name, into)
        if f"sha256:{sha256}" != diff_id:
            raise _unusable(f"its layer {name} has other bytes than its config says")
        layers.append(Descriptor(OCI_LAYER, diff_id, size))
    return Image(config, tuple(layers))


def _verified(files: Files, descriptor: Descriptor) -> bytes:
    data = files.read(_blob(descriptor))
    if f"sha256:{digest.of_bytes(data)}" != descriptor.digest:
        raise _unusable(f"its blob {descriptor.digest} has other bytes")
    return data


def _blob(descriptor: Descriptor) -> str:
    return f"blobs/sha256/{descriptor.digest.removeprefix('sha256:')}"


def _opened(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except (tarfile.TarError, OSError) as error:
        raise _unusable(f"{path.name} is no plain tar: {error}") from error


def _json(data: bytes, of: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
        if value["rootfs"]["type"] == "layers" and isinstance(value["architecture"], str) and value["os"] == "linux":
            return dict(value)
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    raise _unusable(f"{of} has no config of a Linux image")


def _unusable(why: str) -> ModelspecError:
    return fail("MS541", f"the base image cannot be used: {why}", help="save it again, or name another", path=("base",))
