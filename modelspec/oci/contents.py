"""What an image layout holds, in the terms of the build: which layer is what, how large, under which digest."""

import json
from dataclasses import dataclass
from typing import Any

from modelspec.oci import document
from modelspec.oci.descriptor import OCI_CONFIG, Descriptor
from modelspec.oci.layout import Layout, manifests

BASE = "base"
OURS = ("packages", "server", "model")
"""The layers on top of the base, as the history calls them."""


@dataclass(frozen=True)
class LayerSaid:
    """One layer of an image."""

    name: str
    descriptor: Descriptor
    diff_id: str


@dataclass(frozen=True)
class ImageSaid:
    """The image of one platform."""

    manifest: Descriptor
    platform: str
    config: dict[str, Any]
    layers: tuple[LayerSaid, ...]

    def sizes(self) -> dict[str, int]:
        """Bytes by the name of the layer; those of the base together."""
        found: dict[str, int] = {}
        for layer in self.layers:
            found[layer.name] = found.get(layer.name, 0) + layer.descriptor.size
        return found


@dataclass(frozen=True)
class LayoutSaid:
    """A layout: what is deployed, the images in it, and the artifact beside them."""

    deployed: Descriptor
    images: tuple[ImageSaid, ...]
    artifact: Descriptor | None

    def as_record(self) -> dict[str, Any]:
        """For build.json."""
        return {
            "digest": self.deployed.digest,
            "artifact": self.artifact.digest if self.artifact else None,
            "platforms": {
                image.platform: {
                    "digest": image.manifest.digest,
                    "layers": [{"name": layer.name, **layer.descriptor.to_json()} for layer in image.layers],
                }
                for image in self.images
            },
        }


def describe(layout: Layout) -> LayoutSaid:
    """Read a layout. Raises MS650 and MS655 where it is not whole."""
    images, artifact = [], None
    for descriptor in manifests(layout):
        config, layers = document.parts(layout.read(descriptor), descriptor.digest)
        if config.media_type == OCI_CONFIG:
            images.append(_image(descriptor, json.loads(layout.read(config)), layers))
        else:
            artifact = descriptor
    return LayoutSaid(layout.index()[0], tuple(images), artifact)


def _image(descriptor: Descriptor, config: dict[str, Any], layers: tuple[Descriptor, ...]) -> ImageSaid:
    diff_ids = config["rootfs"]["diff_ids"]
    comments = [entry.get("comment", "") for entry in config.get("history", ()) if not entry.get("empty_layer")]
    ours = comments[-len(OURS) :] if tuple(comments[-len(OURS) :]) == OURS else []
    names = [BASE] * (len(layers) - len(ours)) + ours
    said = (LayerSaid(*each) for each in zip(names, layers, diff_ids, strict=True))
    return ImageSaid(descriptor, f"{config['os']}/{config['architecture']}", config, tuple(said))
