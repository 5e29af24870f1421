"""A layout on disk into a registry: all that its manifests name, then the manifests, and last their tags."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelspec.errors import fail
from modelspec.oci import document
from modelspec.oci.descriptor import INDEXES, Descriptor
from modelspec.oci.layout import ARTIFACT_SUFFIX, DOCKER, REF_NAME, Layout
from modelspec.oci.reference import Reference, is_tag, names_a_registry, parse
from modelspec.oci.registry import Registry
from modelspec.oci.upload import Outcome, push_blob, push_manifest

BASE = "org.opencontainers.image.base.name"

Tell = Callable[[Descriptor, Outcome | None], None]
"""Told of each blob twice: when it is begun, and what became of it."""


@dataclass(frozen=True)
class Item:
    """A manifest of a layout, and the name it is to have in the registry."""

    layout: Path
    descriptor: Descriptor
    reference: Reference


@dataclass(frozen=True)
class Pushed:
    """A manifest that the registry has now, and whether it was there before."""

    reference: Reference
    descriptor: Descriptor
    new: bool


def items(folder: Path, targets: tuple[str, ...], ref: str | None) -> list[Item]:
    """What is to be pushed of a build's folder or a layout, each under its name. Raises MS353 and MS354."""
    layouts = _layouts(folder, targets)
    found = []
    for target, layout in layouts.items():
        descriptors = manifests(layout)
        names = _tags(descriptors, _repository(ref, layout), f"-{target}" if len(layouts) > 1 else "")
        found += [Item(layout, descriptor, name) for descriptor, name in zip(descriptors, names, strict=True)]
    return found


def push(wanted: list[Item], connect: Callable[[str], Registry], tell: Tell, *, replace: bool) -> list[Pushed]:
    """Blobs, then manifests, then tags; all that can be refused is refused before anything is sent. Raises MS654."""
    registries = {host: connect(host) for host in dict.fromkeys(item.reference.host for item in wanted)}
    there = [not replace and _is_there(registries[item.reference.host], item) for item in wanted]
    pushed = []
    for item, known in zip(wanted, there, strict=True):
        if not known:
            _push(registries[item.reference.host], item, tell, replace=replace)
        pushed.append(Pushed(item.reference, item.descriptor, not known))
    return pushed


def _layouts(folder: Path, targets: tuple[str, ...]) -> dict[str, Path]:
    """The layout itself, or those of a build's targets."""
    if Layout(folder).exists:
        return {"": folder}
    found = {path.parent.parent.name: path.parent for path in sorted(folder.glob("*/image/oci-layout"))}
    if unknown := [name for name in targets if name not in found]:
        raise fail("MS354", f"{folder} holds no image of the target {unknown[0]!r}",
                   help=f"one of: {', '.join(found) or 'none; add `containerize` and build'}")  # fmt: skip
    if not found:
        raise fail("MS354", f"{folder} holds no image", help="add `containerize` to model.yaml, and build")
    return {name: layout for name, layout in found.items() if not targets or name in targets}


def _repository(ref: str | None, layout: Path) -> Reference:
    reference = parse(ref) if ref else _own_repository(layout)
    if reference is None:
        raise fail("MS354", f"{layout} does not say in which registry it belongs",
                   help="write containerize.image, or name it: modelspec push FOLDER REF")  # fmt: skip
    if reference.digest:
        raise fail(
            "MS353", f"{ref!r}: the digest is the image's own, and not to be chosen", help="leave out the digest"
        )
    return reference


def manifests(layout: Path) -> list[Descriptor]:
    """What index.json lists. Raises MS354 where the folder is no layout."""
    found = Layout(layout).index() if Layout(layout).exists else []
    if not found:
        raise fail("MS354", f"{layout} is no OCI image layout that names an image",
                   help="give the folder of a build that has `containerize`, or the layout itself")  # fmt: skip
    return found


def _own_repository(layout: Path) -> Reference | None:
    """Where the image belongs by its own account, Docker's manifest.json; None where that names no registry."""
    try:
        name = str(json.loads((layout / DOCKER).read_bytes())[0]["RepoTags"][0])
    except (OSError, LookupError, TypeError, ValueError):
        return None
    return parse(name).at() if names_a_registry(name) else None


def _tags(found: list[Descriptor], reference: Reference, suffix: str = "") -> list[Reference]:
    """The name for each manifest of a layout: the image is `<version>`, the artifact beside it `<version>-model`."""
    version = reference.tag or next((name for d in found if is_tag(name := d.annotations.get(REF_NAME, ""))), "latest")
    endings = ["", ARTIFACT_SUFFIX, *(f"-{number}" for number in range(3, len(found) + 1))]
    return [reference.at(tag=f"{version}{suffix}{ending}") for ending in endings[: len(found)]]


def _is_there(registry: Registry, item: Item) -> bool:
    """Whether the tag stands for this manifest already. Raises MS654 where it stands for another."""
    there = registry.exists(item.reference)
    if there and there != item.descriptor.digest:
        raise fail(
            "MS654",
            f"{item.reference} is {there} already, and this build is {item.descriptor.digest}",
            why="whoever deploys this version would get another model under the same name",
            help="raise the version in model.yaml; or --replace, where nobody uses it yet",
        )
    return bool(there)


def _push(registry: Registry, item: Item, tell: Tell, *, replace: bool) -> None:
    data = Layout(item.layout).read(item.descriptor)
    _push_parts(registry, item.layout, item.reference, data, item.descriptor, tell)
    if replace or not _is_there(registry, item):  # it may have got there meanwhile
        push_manifest(registry, item.reference, data, item.descriptor.media_type)


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
