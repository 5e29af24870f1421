"""An image from a registry into a layout on disk: all of it, and what its digests say, or nothing."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from modelspec.oci import document
from modelspec.oci.descriptor import DOCKER_CONFIG, OCI_CONFIG, Descriptor
from modelspec.oci.layout import BLOBS, REF_NAME, Layout
from modelspec.oci.reference import Reference
from modelspec.oci.registry import Registry

Tell = Callable[[Descriptor, Literal["come"] | None], None]
"""Told of each blob twice: when it is begun, and when it has come."""


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
            tell(blob, "come")
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
