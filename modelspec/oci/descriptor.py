"""What points at a blob: its media type, digest and size."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelspec.errors import fail
from modelspec.oci.reference import is_digest

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})


@dataclass(frozen=True)
class Descriptor:
    """A blob by its content; `platform` is `linux/amd64` or `linux/arm64/v8`, and empty where none is given."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    platform: str = ""

    def to_json(self) -> dict[str, Any]:
        """As manifests and indexes hold it."""
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.platform:
            value["platform"] = dict(zip(("os", "architecture", "variant"), self.platform.split("/"), strict=False))
        return value

    @staticmethod
    def from_json(value: object) -> "Descriptor":
        """Read what a manifest or an index holds. Raises MS655 where it cannot be one."""
        if not isinstance(value, dict):
            raise _malformed("it is not an object")
        digest, size, annotations = value.get("digest"), value.get("size"), value.get("annotations") or {}
        if not isinstance(digest, str) or not is_digest(digest):
            raise _malformed("its digest is not a SHA-256")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise _malformed("its size is not a number of bytes")
        media_type = value.get("mediaType", "")
        if not isinstance(media_type, str) or not isinstance(annotations, dict):
            raise _malformed("its media type or its annotations are of another type")
        texts = {str(key): str(text) for key, text in annotations.items()}
        return Descriptor(media_type, digest, size, texts, _platform(value.get("platform")))


def _platform(value: object) -> str:
    """Of an index' entry; a variant that says no more than the architecture is left out."""
    if not isinstance(value, dict) or not value.get("os") or not value.get("architecture"):
        return ""
    variant = value.get("variant") or ""
    if (value["architecture"], variant) == ("arm64", "v8"):
        variant = ""
    return "/".join(str(part) for part in (value["os"], value["architecture"], variant) if part)


def _malformed(reason: str) -> Exception:
    return fail("MS655", f"a descriptor of an image cannot be understood: {reason}", help="push the image again")
