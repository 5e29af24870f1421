"""An OCI image layout: a folder of blobs named by their digests, and an index that says which of them to start at.

Docker's `manifest.json` lies beside the index, which the layout's specification allows: the tar of such a folder is read
by `docker load` as well as by tools that know OCI alone.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelspec import digest
from modelspec.errors import fail
from modelspec.oci import document
from modelspec.oci.descriptor import INDEXES, OCI_INDEX, OCI_MANIFEST, Descriptor

BLOBS = "blobs/sha256"
INDEX = "index.json"
DOCKER = "manifest.json"
MARKER = "oci-layout"
ARTIFACT_SUFFIX = "-model"
"""What the tag of the artifact ends with."""
REF_NAME = "org.opencontainers.image.ref.name"


class Layout:
    """One layout on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def exists(self) -> bool:
        """Whether the folder looks like a layout."""
        return (self.folder / INDEX).is_file() and (self.folder / MARKER).is_file()

    def index(self) -> list[Descriptor]:
        """Where it starts: first what is deployed. Raises MS650."""
        try:
            data = (self.folder / INDEX).read_bytes()
        except OSError as error:
            raise fail("MS650", f"{self.folder.name} is no image layout: {error.strerror}", help="build it again") from error  # fmt: skip
        return document.entries(data, INDEX)

    def blob(self, name: str) -> Path:
        """Where the bytes of a digest lie, if they do."""
        return self.folder / BLOBS / name.removeprefix("sha256:")

    def read(self, descriptor: Descriptor) -> bytes:
        """The bytes of a small blob, verified. Raises MS650."""
        try:
            data = self.blob(descriptor.digest).read_bytes()
        except OSError as error:
            raise fail("MS650", f"the blob {descriptor.digest} is missing", help="build it again") from error
        if f"sha256:{digest.of_bytes(data)}" != descriptor.digest:
            raise fail("MS650", f"the blob {descriptor.digest} is damaged", help="build it again")
        return data

    def add_blob(self, source: bytes | Path, media_type: str) -> Descriptor:
        """Put bytes, or a copy of a file, among the blobs."""
        folder = self.folder / BLOBS
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(source, bytes):
            sha256, size = digest.of_bytes(source), len(source)
            (folder / sha256).write_bytes(source)
        else:
            sha256, size = digest.of_file(source), source.stat().st_size
            shutil.copyfile(source, folder / sha256)
        return Descriptor(media_type, f"sha256:{sha256}", size)

    def add_json(self, value: Any, media_type: str) -> Descriptor:
        """Put the canonical JSON of a value among the blobs."""
        return self.add_blob(digest.canonical_json(value), media_type)

    def finish(self, images: Sequence[Descriptor], artifact: Descriptor, tag: str, docker: Sequence[dict[str, Any]]) -> None:  # fmt: skip
        """Write the index: first what is deployed, an index of its own where there are several platforms; then the artifact."""
        deployed = images[0]
        if len(images) > 1:
            listed = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [each.to_json() for each in images]}
            deployed = self.add_json(listed, OCI_INDEX)
        self.write_index([named(deployed, tag), named(artifact, f"{tag}{ARTIFACT_SUFFIX}")], docker)

    def write_index(self, descriptors: Sequence[Descriptor], images: Sequence[dict[str, Any]]) -> None:
        """Finish the layout. `images` is what Docker's manifest.json lists."""
        self.folder.mkdir(parents=True, exist_ok=True)
        marker = digest.canonical_json({"imageLayoutVersion": "1.0.0"})
        (self.folder / MARKER).write_bytes(marker)
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [each.to_json() for each in descriptors]}
        (self.folder / INDEX).write_bytes(digest.canonical_json(index))
        (self.folder / DOCKER).write_bytes(digest.canonical_json(list(images)))


def tag_of(version: str) -> str:
    """The tag of a version: tags have no `+`."""
    return version.replace("+", "_")


def named(descriptor: Descriptor, name: str) -> Descriptor:
    """The same with the name that the index gives it."""
    return replace(descriptor, annotations={**descriptor.annotations, REF_NAME: name})


def manifest(config: Descriptor, layers: Sequence[Descriptor], annotations: dict[str, str], artifact_type: str = "") -> dict[str, Any]:  # fmt: skip
    """An image manifest."""
    value: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    if artifact_type:
        value["artifactType"] = artifact_type
    return {**value, "annotations": annotations} if annotations else value


def manifests(layout: Layout, descriptors: Sequence[Descriptor] | None = None) -> Iterator[Descriptor]:
    """Every manifest that the index leads to, through indexes. Raises MS650."""
    for descriptor in layout.index() if descriptors is None else descriptors:
        if descriptor.media_type in INDEXES:
            inside = json.loads(layout.read(descriptor))["manifests"]
            yield from manifests(layout, [Descriptor.from_json(entry) for entry in inside])
        else:
            yield descriptor
