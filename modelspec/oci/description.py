"""What an image is, for people and programs: its digest, how it is started, its labels and its layers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelspec.oci import document
from modelspec.oci.descriptor import INDEXES, Descriptor
from modelspec.oci.layout import REF_NAME, Layout
from modelspec.oci.push import manifests
from modelspec.oci.reference import Reference
from modelspec.oci.registry import Registry

Read = Callable[[Descriptor], bytes]
_RUN = ("User", "Entrypoint", "Cmd", "WorkingDir", "ExposedPorts", "Env", "Labels")


def of_registry(registry: Registry, reference: Reference) -> dict[str, Any]:
    """Of an image in a registry: of an index, what it lists."""
    descriptor = registry.resolve(reference)
    data = registry.manifest(reference.at(digest=descriptor.digest))
    return _describe(str(reference), descriptor, data, lambda blob: registry.read_blob(reference.repository, blob))


def of_layout(layout: Path) -> list[dict[str, Any]]:
    """Of each manifest in a layout on disk."""
    found = []
    for descriptor in manifests(layout):
        name = descriptor.annotations.get(REF_NAME, "")
        data = Layout(layout).read(descriptor)
        found.append(_describe(name, descriptor, data, Layout(layout).read))
    return found


def _describe(name: str, descriptor: Descriptor, data: bytes, read: Read) -> dict[str, Any]:
    value = document.read(data, name)
    shown: dict[str, Any] = {"name": name, "digest": descriptor.digest, "mediaType": descriptor.media_type}
    shown["annotations"] = value.get("annotations") or {}
    if descriptor.media_type in INDEXES:
        entries = document.entries(data, name)
        shown["manifests"] = [{"platform": e.platform, "digest": e.digest, "size": e.size} for e in entries]
        return shown
    config_blob, layers = document.parts(data, name)
    config = _object(read(config_blob))
    if value.get("artifactType"):
        shown["artifactType"] = value["artifactType"]
    else:
        parts = (config.get("os"), config.get("architecture"), config.get("variant"))
        shown["platform"] = "/".join(str(part) for part in parts if part)
        run = config.get("config")
        shown["config"] = {key: run[key] for key in _RUN if run.get(key)} if isinstance(run, dict) else {}
    made = _made_by(config, len(layers))
    shown["layers"] = [
        {
            "mediaType": layer.media_type,
            "digest": layer.digest,
            "size": layer.size,
            "from": _origin(layer, made[number]),
        }
        for number, layer in enumerate(layers)
    ]
    return shown


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _made_by(config: dict[str, Any], layers: int) -> list[str]:
    """What the history says of each layer; it has entries without one too."""
    history = config.get("history")
    entries = (
        [e for e in history if isinstance(e, dict) and not e.get("empty_layer")] if isinstance(history, list) else []
    )
    told = []
    for entry in entries:
        made, comment = str(entry.get("created_by") or ""), str(entry.get("comment") or "")
        # modelspec says in the comment which part it is; BuildKit's comments name BuildKit.
        told.append(comment or made if made in {"", "modelspec"} else made)
    return told if len(told) == layers else [""] * layers


def _origin(layer: Descriptor, made_by: str) -> str:
    return (
        layer.annotations.get("org.cncf.model.filepath")
        or layer.annotations.get("org.opencontainers.image.title")
        or made_by
    )
