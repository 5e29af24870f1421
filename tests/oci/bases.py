"""Base images that hold next to nothing: enough names for the build to know what they are."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from modelspec.oci.descriptor import OCI_CONFIG, OCI_LAYER, Descriptor
from modelspec.oci.layout import Layout, manifest

NAMES = {"usr/bin/python3.11": "", "usr/bin/python3": "python3.11", "lib/x86_64-linux-gnu/libc.so.6": ""}
"""Files, and links with what they lead to."""


def layer(names: dict[str, str] | None = None) -> bytes:
    """A tar of empty files and links."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, link in (NAMES if names is None else names).items():
            info = tarfile.TarInfo(name)
            if link:
                info.type, info.linkname = tarfile.SYMTYPE, link
            tar.addfile(info)
    return file.getvalue()


def write(
    folder: Path, *, tar: bytes | Path | None = None, architectures: tuple[str, ...] = ("amd64",), **config: Any
) -> Path:
    """An OCI layout with one image for each architecture, all of one layer."""
    layout = Layout(folder)
    blob = layout.add_blob(layer() if tar is None else tar, OCI_LAYER)
    found = []
    for architecture in architectures:
        value = {
            "architecture": architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [blob.digest]},
            "history": [{"created_by": "a base"}],
        }
        made = layout.add_json(manifest(layout.add_json(value, OCI_CONFIG), [blob], {}), "application/vnd.oci.image.manifest.v1+json")  # fmt: skip
        found.append(Descriptor(made.media_type, made.digest, made.size, platform=f"linux/{architecture}"))
    layout.write_index(found, [])
    return folder


def as_oci_archive(folder: Path, path: Path) -> Path:
    """The tar of a layout."""
    with tarfile.open(path, "w") as tar:
        for name in sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*")):
            if name != "manifest.json":
                tar.add(folder / name, name, recursive=False)
    return path


def as_docker_archive(folder: Path, path: Path) -> Path:
    """What `docker save` wrote before it knew layouts."""
    layout = Layout(folder)
    value = json.loads(layout.read(layout.index()[0]))
    config, layers = value["config"]["digest"][7:], [each["digest"][7:] for each in value["layers"]]
    listed = [{"Config": f"{config}.json", "RepoTags": ["base:1"], "Layers": [f"{each}/layer.tar" for each in layers]}]
    (folder / "listed").write_text(json.dumps(listed))
    with tarfile.open(path, "w") as tar:
        tar.add(layout.blob(config), f"{config}.json")
        for each in layers:
            tar.add(layout.blob(each), f"{each}/layer.tar")
        tar.add(folder / "listed", "manifest.json")
    (folder / "listed").unlink()
    return path
