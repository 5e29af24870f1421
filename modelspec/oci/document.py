"""Manifests and indexes as JSON documents: what kind one is, and the manifest for a platform."""

import json
from typing import Any

from modelspec.errors import ModelspecError, fail
from modelspec.oci.descriptor import INDEXES, MANIFESTS, OCI_INDEX, OCI_MANIFEST, Descriptor

LARGEST = 4 << 20
"""Bytes of a manifest: what registries take."""


def read(data: bytes, of: str) -> dict[str, Any]:
    """The document in `data`. Raises MS655."""
    try:
        value = json.loads(data) if len(data) <= LARGEST else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or value.get("schemaVersion") != 2:
        raise fail("MS655", f"{of} has no manifest of version 2", help="push it again with a tool of today")
    return value


def media_type(data: bytes, content_type: str, of: str) -> str:
    """Whether it is a manifest or an index. Raises MS661 where readers would disagree, and MS655."""
    value = read(data, of)
    sent = content_type.partition(";")[0].strip().lower()
    said = value.get("mediaType", "")
    if "manifests" in value and ("layers" in value or "config" in value):
        raise _ambiguous(of, "its manifest is an image and an index of images at once")
    if said and sent in INDEXES | MANIFESTS and said != sent:
        raise _ambiguous(of, f"its manifest says {str(said)[:100]!r}, and the registry {sent!r}")
    kind = (
        said or (sent if sent in INDEXES | MANIFESTS else "") or (OCI_INDEX if "manifests" in value else OCI_MANIFEST)
    )
    if kind not in INDEXES | MANIFESTS or (kind in INDEXES) != ("manifests" in value):
        raise fail("MS655", f"{of} is neither an image nor an index of images: {str(kind)[:100]!r}",
                   help="give the name of an image")  # fmt: skip
    return str(kind)


def entries(data: bytes, of: str) -> list[Descriptor]:
    """The manifests of an index."""
    found = read(data, of).get("manifests")
    return [Descriptor.from_json(entry) for entry in (found if isinstance(found, list) else [])]


def choose(data: bytes, platform: str, of: str) -> Descriptor:
    """The manifest of an index that is for `platform`. Raises MS355."""
    found = entries(data, of)
    for descriptor in found:
        if descriptor.platform == platform and descriptor.media_type in MANIFESTS:
            return descriptor
    offered = ", ".join(sorted({entry.platform for entry in found} - {"", "unknown/unknown"})) or "none"
    raise fail("MS355", f"{of} is not built for {platform}", help=f"it is built for: {offered}")


def parts(data: bytes, of: str) -> tuple[Descriptor, tuple[Descriptor, ...]]:
    """The config and the layers of a manifest. Raises MS655."""
    value = read(data, of)
    layers = value.get("layers")
    if not isinstance(layers, list):
        raise fail("MS655", f"the manifest of {of} has no list of layers", help="push the image again")
    return Descriptor.from_json(value.get("config")), tuple(Descriptor.from_json(layer) for layer in layers)


def reason(body: bytes) -> str:
    """The codes in a registry's error, and none of its words: they may repeat what was sent."""
    try:
        errors = json.loads(body)["errors"]
        codes = [str(error["code"]) for error in errors]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    known = [code for code in codes if code.isascii() and code.replace("_", "").isalnum() and len(code) < 40]
    return f" ({', '.join(known)})" if known else ""


def _ambiguous(of: str, why: str) -> ModelspecError:
    return fail("MS661", f"{of}: {why}", why="one reader would run what another did not check", help="push it again")
