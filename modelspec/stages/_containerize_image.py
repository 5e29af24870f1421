"""The parts of the image: the layers of the server and the model, its program, its labels, its manifests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelspec import digest
from modelspec.oci import layer
from modelspec.oci.config import Layered, Program, created, image_config
from modelspec.oci.descriptor import OCI_CONFIG, OCI_LAYER, Descriptor
from modelspec.oci.layer import Content
from modelspec.oci.layout import BLOBS, Layout, manifest

CODE = "opt/modelspec"
MODELS = "models"
_PACKAGE = Path(__file__).parents[1]
_TYPES = {
    "application/vnd.docker.image.rootfs.diff.tar": OCI_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": f"{OCI_LAYER}+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": f"{OCI_LAYER}+zstd",
}


def server_files() -> dict[str, Path]:
    """The server's code, as it lies in the image below opt/modelspec."""
    files = [_PACKAGE / "__init__.py", *sorted((_PACKAGE / "runtime").rglob("*.py"))]
    return {f"modelspec/{file.relative_to(_PACKAGE).as_posix()}": file for file in files}


def server_digest() -> str:
    """Changes with any byte of the server's code."""
    return digest.of_tree({name: digest.of_file(path) for name, path in server_files().items()})


def add_layer(layout: Layout, contents: Mapping[str, Content], epoch: int) -> Descriptor:
    """Write a layer into the layout."""
    folder = layout.folder / BLOBS
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / "draft"
    made = layer.write(contents, draft, epoch)
    draft.rename(layout.blob(made.digest))
    return made


@dataclass(frozen=True)
class Parts:
    """What the image of one platform is put together from."""

    base: Mapping[str, Any]
    """What the stage `base` says of the base image."""
    layers: Sequence[tuple[str, Descriptor]]
    """Comment and descriptor of each layer on top of it, uncompressed."""
    program: Program
    labels: Mapping[str, str]
    epoch: int

    def add_to(self, layout: Layout) -> tuple[Descriptor, dict[str, Any]]:
        """Write config and manifest; returns the manifest's descriptor and what Docker's manifest.json says."""
        labels = dict(self.labels) | self._base_labels()
        on_top = [Layered(descriptor.digest, comment) for comment, descriptor in self.layers]
        config = image_config(self.base["config"], on_top, self.program, labels, self.epoch)
        below = [Descriptor.from_json(each) for each in self.base["layers"]]
        below = [Descriptor(_TYPES.get(each.media_type, each.media_type), each.digest, each.size) for each in below]
        layers = [*below, *(descriptor for _, descriptor in self.layers)]
        written = layout.add_json(config, OCI_CONFIG)
        value = manifest(written, layers, {"org.opencontainers.image.created": created(self.epoch), **labels})
        made = layout.add_json(value, value["mediaType"])
        platform = f"{config['os']}/{config['architecture']}"
        docker = {"Config": _place(written), "Layers": [_place(each) for each in layers]}
        return Descriptor(made.media_type, made.digest, made.size, platform=platform), docker

    def _base_labels(self) -> dict[str, str]:
        """Where the base is: `push` has its layers taken over from there, in the same registry."""
        said = {"name": self.base.get("reference"), "digest": self.base.get("digest")}
        return {f"org.opencontainers.image.base.{key}": value for key, value in said.items() if value}


def _place(descriptor: Descriptor) -> str:
    return f"{BLOBS}/{descriptor.digest.removeprefix('sha256:')}"


def program(model: Mapping[str, Any], runtime: Mapping[str, Any], grpc_port: int | None) -> Program:
    """What runs: the server, as a program of the image's Python, whatever lies in its folder."""
    serve = runtime["serve"]
    entrypoint = ["python3", "-P", "-m", "modelspec.runtime", f"/{MODELS}/{model['name']}", "--name", model["name"],
                  "--version", model["version"], "--host", "0.0.0.0"]  # noqa: S104 # fmt: skip
    if grpc_port is not None:
        entrypoint += ["--grpc-port", str(grpc_port)]
    environment = {
        "PYTHONPATH": f"/{CODE}:/{CODE}/packages",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    ports = [serve["port"], *([grpc_port] if grpc_port is not None else [])]
    return Program(entrypoint, environment, ports, ["python3", "-I", "-S", "-c", _health(serve)])


def _health(serve: Mapping[str, Any]) -> str:
    """A program that fails while the model is not ready; where only TLS answers, that somebody listens has to do."""
    port = int(serve["port"])
    if "tls_cert" in serve:
        return f"import socket; socket.create_connection(('127.0.0.1', {port}), 4).close()"
    return (
        f"import http.client as h; c = h.HTTPConnection('127.0.0.1', {port}, timeout=4); "
        "c.request('GET', '/v2/health/ready'); raise SystemExit(c.getresponse().status != 200)"
    )


def labels(model: Mapping[str, Any], source: str | None, revision: str | None, own: Mapping[str, str], files: str) -> dict[str, str]:  # fmt: skip
    """OCI's labels of what the spec says, and the digest of the model's files."""
    said = {
        "org.opencontainers.image.title": model["name"],
        "org.opencontainers.image.version": model["version"],
        "org.opencontainers.image.description": model.get("description"),
        "org.opencontainers.image.licenses": model.get("license"),
        "org.opencontainers.image.authors": ", ".join(model.get("authors") or ()),
        "org.opencontainers.image.source": source,
        "org.opencontainers.image.revision": revision,
        "dev.modelspec.model": f"sha256:{files}",
    }
    return {**own, **{key: value for key, value in said.items() if value}}
