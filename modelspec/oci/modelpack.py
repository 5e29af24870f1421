"""The CNCF ModelPack artifact of a model: another manifest over the blob that the image has as a layer."""

from collections.abc import Mapping, Sequence
from typing import Any

from modelspec.oci.config import created
from modelspec.oci.descriptor import Descriptor
from modelspec.oci.layout import Layout, manifest

ARTIFACT = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = "application/vnd.cncf.model.config.v1+json"
WEIGHT = "application/vnd.cncf.model.weight.v1.tar"
FILEPATH = "org.cncf.model.filepath"
_PRECISIONS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "fp64": "float64", "int8w": "int8"}


def config(model: Mapping[str, Any], runtime: Mapping[str, Any], layers: Sequence[Descriptor], epoch: int) -> dict[str, Any]:  # fmt: skip
    """The config of the artifact; `model` has name, version, and what the card says."""
    descriptor = {
        "createdAt": created(epoch),
        "name": model["name"],
        "version": model["version"],
        "description": model.get("description"),
        "authors": list(model.get("authors") or ()),
        "licenses": [model["license"]] if model.get("license") else [],
        "sourceURL": model.get("source"),
        "revision": model.get("revision"),
    }
    precision = str(runtime.get("precision", ""))
    described = {
        "format": str(runtime.get("file", "")).rpartition(".")[2],
        "precision": _PRECISIONS.get(precision, precision),
    }
    return {
        "descriptor": {key: value for key, value in descriptor.items() if value},
        "config": {key: value for key, value in described.items() if value},
        "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in layers]},
    }


def add(layout: Layout, config: Mapping[str, Any], layer: Descriptor, path: str, annotations: dict[str, str]) -> Descriptor:  # fmt: skip
    """Put the artifact's manifest into a layout that has the layer as a blob."""
    weight = Descriptor(WEIGHT, layer.digest, layer.size, {FILEPATH: path})
    value = manifest(layout.add_json(config, CONFIG), [weight], annotations, ARTIFACT)
    return layout.add_json(value, value["mediaType"])
