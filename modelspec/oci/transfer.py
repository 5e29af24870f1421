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

from modelspec.errors import fail
from modelspec.oci import document
from modelspec.oci.descriptor import DOCKER_CONFIG, INDEXES, OCI_CONFIG, Descriptor
from modelspec.oci.layout import ARTIFACT_SUFFIX, BLOBS, DOCKER, REF_NAME, Layout
from modelspec.oci.reference import Reference, is_tag, names_a_registry, parse
from modelspec.oci.registry import Registry
from modelspec.oci.upload import Outcome, push_blob, push_manifest

BASE = "org.opencontainers.image.base.name"

Tell = Callable[[Descriptor, Outcome | None], None]
"""Told of each blob twice: when it is begun, and what became of it."""


@dataclass(frozen=True)
class Pushed:
    """A manifest that the registry has now, and whether it was there before."""

    reference: Reference
    descriptor: Descriptor
    new: bool


def manifests(layout: Path) -> list[Descriptor]:
    """What index.json lists. Raises MS354 where the folder is no layout."""
    found = Layout(layout).index() if Layout(layout).exists else []
    if not found:
        raise fail("MS354", f"{layout} is no OCI image layout that names an image",
                   help="give the folder of a build that has `containerize`, or the layout itself")  # fmt: skip
    return found


def own_repository(layout: Path) -> Reference | None:
    """Where the image belongs by its own account, Docker's manifest.json; None where that names no registry."""
    try:
        name = str(json.loads((layout / DOCKER).read_bytes())[0]["RepoTags"][0])
    except (OSError, LookupError, TypeError, ValueError):
        return None
    return parse(name).at() if names_a_registry(name) else None


def tags(found: list[Descriptor], reference: Reference, suffix: str = "") -> list[Reference]:
    """The name for each manifest of a layout: the image is `<version>`, the artifact beside it `<version>-model`."""
    version = reference.tag or next((name for d in found if is_tag(name := d.annotations.get(REF_NAME, ""))), "latest")
    endings = ["", ARTIFACT_SUFFIX, *(f"-{number}" for number in range(3, len(found) + 1))]
    return [reference.at(tag=f"{version}{suffix}{ending}") for ending in endings[: len(found)]]


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
    data = Layout(layout).read(descriptor)
    if new:
        _push_parts(registry, layout, reference, data, descriptor, tell)
        if not replace:
            refuse_moved(registry, reference, descriptor)
        push_manifest(registry, reference, data, descriptor.media_type)
    return Pushed(reference, descriptor, new)


def _push_parts(registry: Registry, layout: Path, reference: Reference, data: bytes, descriptor: Descriptor, tell: Tell) -> None:  # fmt: skip
    if descriptor.media_type in INDEXES:
        for entry in document.entries(data, str(layout)):
            inner = Layout(layout).read(entry)
            _push_parts(registry, layout, reference, inner, entry, tell)
            push_manifest(registry, reference.at(digest=entry.digest), inner, entry.media_type)
        return
    config, layers = document.parts(data, str(layout))
    for blob in (*layers, config):
        path = Layout(layout).blob(blob.digest)
        if not path.is_file() or path.stat().st_size != blob.size:
            raise fail("MS650", f"{path} is not the blob that its manifest names", help="build the image again")
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
        made = Layout(work)
        (work / BLOBS).mkdir(parents=True)
        for blob in dict.fromkeys((*layers, config)):
            tell(blob, None)
            registry.pull_blob(reference.repository, blob, made.blob(blob.digest))
            tell(blob, "sent")
        made.blob(descriptor.digest).write_bytes(data)
        named = Descriptor(
            descriptor.media_type, descriptor.digest, descriptor.size, {REF_NAME: reference.wanted}, platform
        )
        made.write_index([named], _for_docker(reference, config, layers))
        work.chmod(0o755)
        os.rename(work, folder)  # noqa: PTH104 - only onto nothing, or an empty folder
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return descriptor


def _for_docker(reference: Reference, config: Descriptor, layers: tuple[Descriptor, ...]) -> list[dict[str, Any]]:
    """What `docker load` reads of the layout's tar; of an artifact that is no image, nothing."""
    if config.media_type not in {OCI_CONFIG, DOCKER_CONFIG}:
        return []
    places = [f"{BLOBS}/{blob.digest.removeprefix('sha256:')}" for blob in (config, *layers)]
    names = [] if reference.digest else [f"{reference.name}:{reference.wanted}"]
    return [{"Config": places[0], "RepoTags": names, "Layers": places[1:]}]
