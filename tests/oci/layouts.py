"""Small OCI layouts, written by hand."""

import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

from modelspec import digest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
MODELPACK = "application/vnd.cncf.model.manifest.v1+json"


def tar_of(files: dict[str, bytes]) -> bytes:
    """An uncompressed layer."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return data.getvalue()


class Writer:
    """Puts blobs into a layout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs" / "sha256").mkdir(parents=True)

    def blob(self, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        sha256 = digest.of_bytes(data)
        (self.folder / "blobs" / "sha256" / sha256).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{sha256}", "size": len(data), **more}

    def json(self, value: object, media_type: str, **more: Any) -> dict[str, Any]:
        return self.blob(json.dumps(value).encode(), media_type, **more)


def write(folder: Path, *, seed: int = 0, size: int = 200_000, version: str = "1.0.0", name: str = "", base: str = "") -> str:  # fmt: skip
    """An image of two layers, and a ModelPack artifact over the second; returns the image's digest."""
    writer = Writer(folder)
    layer_type = "application/vnd.oci.image.layer.v1.tar"
    layers = [writer.blob(tar_of({"etc/base": b"base"}), layer_type),
              writer.blob(tar_of({"models/m/model.onnx": random.Random(seed).randbytes(size)}), layer_type)]  # fmt: skip
    ids = [layer["digest"] for layer in layers]
    config = writer.json(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids},
         "config": {"User": "65532:65532", "Entrypoint": ["/bin/true"], "Labels": {"org.opencontainers.image.version": version}},
         "history": [{"created_by": "base"}, {"created_by": "model"}, {"created_by": "label", "empty_layer": True}]},
        "application/vnd.oci.image.config.v1+json",
    )  # fmt: skip
    named = {"org.opencontainers.image.ref.name": version}
    annotations = {"org.opencontainers.image.base.name": base} if base else {}
    image = writer.json({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, "annotations": annotations},
                        MANIFEST, annotations=named)  # fmt: skip
    pack_config = writer.json({"descriptor": {}, "config": {}, "modelfs": {"type": "layers", "diffIds": ids[1:]}},
                              "application/vnd.cncf.model.config.v1+json")  # fmt: skip
    weight = {**layers[1], "mediaType": "application/vnd.cncf.model.weight.v1.tar",
              "annotations": {"org.cncf.model.filepath": "models/m"}}  # fmt: skip
    pack = writer.json({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": MODELPACK, "config": pack_config,
                        "layers": [weight]}, MANIFEST)  # fmt: skip
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [image, pack]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    docker = [{"Config": f"blobs/sha256/{config['digest'][7:]}", "RepoTags": [f"{name}:{version}"] if name else [],
               "Layers": [f"blobs/sha256/{one[7:]}" for one in ids]}]  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(docker))
    return str(image["digest"])


def write_index(folder: Path, architectures: tuple[str, ...]) -> str:
    """An index of an image for each architecture; returns its digest."""
    writer = Writer(folder)
    layer = writer.blob(tar_of({"a": b"a"}), "application/vnd.oci.image.layer.v1.tar")
    entries = []
    for architecture in architectures:
        rootfs = {"type": "layers", "diff_ids": [layer["digest"]]}
        config = writer.json({"architecture": architecture, "os": "linux", "config": {}, "rootfs": rootfs}, CONFIG)
        value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
        entries.append(writer.json(value, MANIFEST, platform={"os": "linux", "architecture": architecture}))
    value = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    index = writer.json(value, INDEX, annotations={"org.opencontainers.image.ref.name": "1.0.0"})
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [index]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return str(index["digest"])


def read(layer: Path, name: str) -> bytes:
    """A file of an uncompressed layer; empty where it is not there."""
    with tarfile.open(layer, "r:") as tar:
        member = next((entry for entry in tar if entry.name.removeprefix("./") == name), None)
        file = tar.extractfile(member) if member else None
        return file.read() if file else b""
