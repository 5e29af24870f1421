"""An image between a layout on disk and a registry: all that its manifest names, then the manifest, then its tag."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelspec import digest
from modelspec.errors import fail
from modelspec.oci import document
from modelspec.oci.descriptor import INDEXES, Descriptor
from modelspec.oci.reference import Reference, is_tag, parse
from modelspec.oci.registry import Registry
from modelspec.oci.upload import Outcome, push_blob, push_manifest

NAME = "org.opencontainers.image.ref.name"
BASE = "org.opencontainers.image.base.name"

Tell = Callable[[Descriptor, Outcome | None], None]
"""Told of each blob twice: when it is begun, and what became of it."""


@dataclass(frozen=True)
class Pushed:
    """A manifest that the registry has now, and whether it was there before."""

    reference: Reference
    descriptor: Descriptor
    new: bool


def blob_path(layout: Path, descriptor: Descriptor) -> Path:
    """Where a layout keeps it."""
    return layout / "blobs" / "sha256" / descriptor.digest.removeprefix("sha256:")


def manifests(layout: Path) -> list[Descriptor]:
    """What index.json lists. Raises MS354 where the folder is no layout."""
    try:
        found = document.entries((layout / "index.json").read_bytes(), str(layout))
    except (FileNotFoundError, NotADirectoryError):
        found = []
    if not found:
        raise fail("MS354", f"{layout} is no OCI image layout: it has no index.json that names an image",
                   help="give the folder of a build that has `containerize`, or the layout itself")  # fmt: skip
    return found


def manifest_bytes(layout: Path, descriptor: Descriptor) -> bytes:
    """A manifest of a layout. Raises MS602."""
    path = blob_path(layout, descriptor)
    data = path.read_bytes() if path.is_file() else b""
    if f"sha256:{digest.of_bytes(data)}" != descriptor.digest:
        raise fail("MS602", f"{path} is not what index.json names", help="build the image again")
    return data


def own_name(layout: Path) -> str:
    """The name that the image was built under, as Docker's manifest.json has it; empty where there is none."""
    try:
        value: Any = json.loads((layout / "manifest.json").read_bytes())
        return str(value[0]["RepoTags"][0])
    except (OSError, LookupError, TypeError, ValueError):
        return ""


def tags(found: list[Descriptor], reference: Reference, suffix: str = "") -> list[Reference]:
    """The name for each manifest of a layout: the image is `<version>`, an artifact beside it `<version>-<its type>`."""
    version = reference.tag or next(
        (d.annotations[NAME] for d in found if is_tag(d.annotations.get(NAME, ""))), "latest"
    )
    names = [version + suffix]
    for number, descriptor in enumerate(found[1:], 2):
        own = descriptor.annotations.get(NAME, "")
        distinct = is_tag(own) and own not in {version, *names} and not reference.tag and not suffix
        names.append(own if distinct else f"{version}{suffix}-{'modelpack' if number == 2 else number}")
    return [reference.at(tag=name) for name in names]


def refuse_moved(registry: Registry, reference: Reference, descriptor: Descriptor) -> bool:
    """Whether the tag stands for this manifest already. Raises MS654 where it stands for another."""
    there = registry.exists(reference)
    if there and there != descriptor.digest:
        raise fail(
            "MS654",
            f"{reference} is {there} already, and this build is {descriptor.digest}",
            why="whoever deploys this version would get another model under the same name",
            help="raise the version in model.yaml; or --replace, where nobody uses it yet",
        )
    return bool(there)


def push(registry: Registry, layout: Path, reference: Reference, descriptor: Descriptor, tell: Tell, *, replace: bool) -> Pushed:  # fmt: skip
    """All blobs of a manifest, the manifest by its digest, and last its tag."""
    new = True if replace else not refuse_moved(registry, reference, descriptor)
    data = manifest_bytes(layout, descriptor)
    if new:
        _push_parts(registry, layout, reference, data, descriptor, tell)
        if not replace:
            refuse_moved(registry, reference, descriptor)
        push_manifest(registry, reference, data, descriptor.media_type)
    return Pushed(reference, descriptor, new)


def _push_parts(registry: Registry, layout: Path, reference: Reference, data: bytes, descriptor: Descriptor, tell: Tell) -> None:  # fmt: skip
    if descriptor.media_type in INDEXES:
        for entry in document.entries(data, str(layout)):
            inner = manifest_bytes(layout, entry)
            _push_parts(registry, layout, reference, inner, entry, tell)
            push_manifest(registry, reference.at(digest=entry.digest), inner, entry.media_type)
        return
    config, layers = document.parts(data, str(layout))
    for blob in (*layers, config):
        path = blob_path(layout, blob)
        if not path.is_file() or path.stat().st_size != blob.size:
            raise fail("MS602", f"{path} is not the blob that its manifest names", help="build the image again")
        tell(blob, None)
        tell(blob, push_blob(registry, reference.repository, blob, path, mount=_base_repository(data, registry.host)))


def _base_repository(data: bytes, host: str) -> str:
    """The repository of the base image, where it is in the same registry."""
    name = document.read(data, "the image").get("annotations", {}).get(BASE, "")
    if not isinstance(name, str) or not re.fullmatch(r"[\x21-\x7e]+", name):
        return ""
    base = parse(name)
    return base.repository if base.host == host else ""


def pull(registry: Registry, reference: Reference, platform: str, folder: Path, tell: Tell) -> Descriptor:
    """Write an image as a layout; the folder appears when all of it is there and is what its digests say."""
    descriptor = registry.resolve(reference, platform)
    data = registry.manifest(reference.at(digest=descriptor.digest))
    config, layers = document.parts(data, str(reference))
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        (work / "blobs" / "sha256").mkdir(parents=True)
        for blob in dict.fromkeys((*layers, config)):
            tell(blob, None)
            registry.pull_blob(reference.repository, blob, blob_path(work, blob))
            tell(blob, "sent")
        blob_path(work, descriptor).write_bytes(data)
        named = Descriptor(
            descriptor.media_type, descriptor.digest, descriptor.size, {NAME: reference.wanted}, platform
        )
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [named.to_json()],
        }
        (work / "index.json").write_bytes(digest.canonical_json(index))
        (work / "oci-layout").write_bytes(digest.canonical_json({"imageLayoutVersion": "1.0.0"}))
        work.chmod(0o755)
        os.rename(work, folder)  # noqa: PTH104 - only onto nothing, or an empty folder
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return descriptor
