"""Installs packages and runs steps on the base image, with the Docker engine: what no tar can be assembled for.

It is the only part of an image that is not assembled here, and comes out otherwise each time: the first result is kept. What
lies on top (packages, server, model) is added without the engine, so that another model still ships its own layer only.
"""

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

from modelspec import digest, resources
from modelspec.errors import fail
from modelspec.stage import Determinism, Job, Request, Stage
from modelspec.stages._containerize_options import block_of


class Provision(Stage):
    """Base image -> the same with layers on top that the engine made."""

    name: ClassVar[str] = "provision"
    summary: ClassVar[str] = "install Debian packages and run steps on the base image, with the Docker engine"
    revision: ClassVar[int] = 1
    after: ClassVar[tuple[str, ...]] = ("base",)
    takes: ClassVar[tuple[str, ...]] = ("base", "base-image")
    gives: ClassVar[tuple[str, ...]] = ("base", "base-image")
    publishes: ClassVar[Mapping[str, str]] = {"base": "image/blobs/sha256"}
    determinism: ClassVar[Determinism] = Determinism.RECORDED
    gated: ClassVar[bool] = True
    network: ClassVar[bool] = True
    extra: ClassVar[str] = "docker"
    block: ClassVar[Any] = False

    apt: tuple[str, ...] = Field(description="Debian packages.", examples=[["libgomp1"]])
    steps: tuple[tuple[str, ...], ...] = Field(description="Programs to run.", examples=[[["ldconfig"]]])
    template: str = Field(description="Digest of the Dockerfile's template.", examples=["0" * 64])

    @classmethod
    def configure(cls, request: Request) -> Self | None:
        """Asked for by an image that is built with the engine."""
        block = block_of(request)
        if block is None or block.builder != "docker":
            return None
        template = resources.folder("templates") / "docker" / "Dockerfile.j2"
        return cls(apt=block.apt, steps=block.run, template=digest.of_file(template))

    @classmethod
    def origin(cls, request: Request) -> tuple[str | int, ...]:
        return ("containerize",)

    def tools(self) -> tuple[str, ...]:
        return ("docker",)

    def address(self) -> str:
        return "what apt and run bring"

    def run(self, job: Job) -> None:
        """Write the layers of the base and the new ones. Raises MS415, MS416, MS418, MS547."""
        from modelspec.oci.engine import connected

        with connected() as engine:
            for said in sorted(job.input("base-image").iterdir()):
                base = json.loads(said.read_bytes())
                platform = said.stem.replace("-", "/", 1)
                if engine.platform != platform:
                    raise fail("MS547", f"the Docker engine builds for {engine.platform}, and the image is for {platform}",
                               help="name an engine of that platform with DOCKER_HOST", path=("platforms",))  # fmt: skip
                made = self._made(engine, base, platform, job)
                (job.output("base-image") / said.name).write_text(json.dumps(made, sort_keys=True) + "\n")

    def _made(self, engine: Any, base: dict[str, Any], platform: str, job: Job) -> dict[str, Any]:
        from modelspec.stages._base_source import Files, from_files
        from modelspec.stages._provision_dockerfile import dockerfile

        blobs, scratch = job.input("base"), job.root / "tmp"
        _archive(base, blobs, scratch / "base.tar")
        with engine.loaded(scratch / "base.tar") as name:
            (scratch / "base.tar").unlink()
            text = dockerfile(name, self.apt, self.steps)
            engine.save(engine.build(text, name), scratch / "made.tar")
        (brought := scratch / "brought").mkdir()
        with closing(Files(scratch / "made.tar")) as files:
            config, layers = from_files(files, platform, brought)
        (scratch / "made.tar").unlink()
        known = len(base["layers"])
        below = base["config"]["rootfs"]["diff_ids"]
        if config["rootfs"]["diff_ids"][:known] != below or len(layers) <= known:
            raise fail(
                "MS547", "what the Docker engine made is not built on the base image", help="look at the engine's log"
            )
        for layer in base["layers"]:
            _put(blobs, layer["digest"], job.output("base"))
        for layer in layers[known:]:
            _put(brought, layer.digest, job.output("base"))
        rootfs = {"type": "layers", "diff_ids": config["rootfs"]["diff_ids"]}
        history = [*_history(base["config"], known), *_history(config, len(layers))[known:]]
        return {
            **base,
            "config": {**base["config"], "rootfs": rootfs, "history": history},
            "layers": [*base["layers"], *(layer.to_json() for layer in layers[known:])],
        }


def _put(source: Path, name: str, target: Path) -> None:
    """Move a blob; two layers may be the same one."""
    file = name.removeprefix("sha256:")
    if not (target / file).exists():
        (source / file).rename(target / file)


def _history(config: Mapping[str, Any], layers: int) -> list[dict[str, Any]]:
    """One entry for each layer: what made it."""
    found = [entry for entry in config.get("history") or [] if not entry.get("empty_layer")]
    return [dict(entry) for entry in found] if len(found) == layers else [{} for _ in range(layers)]


def _archive(base: Mapping[str, Any], blobs: Path, path: Path) -> None:
    """The base as `docker load` reads it."""
    import io
    import tarfile

    config = digest.canonical_json(base["config"])
    names = [layer["digest"].removeprefix("sha256:") for layer in base["layers"]]
    listed = [{"Config": "config.json", "RepoTags": None, "Layers": names}]
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in (("config.json", config), ("manifest.json", digest.canonical_json(listed))):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for name in dict.fromkeys(names):
            tar.add(blobs / name, name, recursive=False)
