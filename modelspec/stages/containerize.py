"""Puts the model, the server and its packages on a base image: an OCI layout, assembled without a daemon.

No text is generated that anything would run: what the spec says becomes files of a tar and strings of a JSON document.
Each part is a layer of its own, the model's on top, so that another model ships only that one. The same blob is listed
once more as a ModelPack artifact.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

from modelspec import digest, toolchain
from modelspec.stage import Determinism, Job, Request, Stage
from modelspec.stages._containerize_options import Block, block_of

_MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}


class Containerize(Stage):
    """All that is published of a target, base image, packages -> image."""

    name: ClassVar[str] = "containerize"
    summary: ClassVar[str] = "assemble the image that serves the model"
    revision: ClassVar[int] = 1
    after: ClassVar[tuple[str, ...]] = ("base", "provision", "dependencies")
    takes: ClassVar[tuple[str, ...]] = ("base-image", "packages-layer")
    gives: ClassVar[tuple[str, ...]] = ("image",)
    publishes: ClassVar[Mapping[str, str]] = {"image": "image"}
    facts: ClassVar[tuple[str, ...]] = ("arch",)
    determinism: ClassVar[Determinism] = Determinism.NUMERIC
    gated: ClassVar[bool] = True
    block: ClassVar[Any] = Block

    options: Block = Field(description="What is written below `containerize`.", examples=[{}])
    model: dict[str, Any] = Field(description="Name, version and card of the model.", examples=[{}])
    server: str = Field(description="Digest of the server's code.", examples=["0" * 64])

    @classmethod
    def configure(cls, request: Request) -> Self | None:
        """Asked for by its block."""
        block = block_of(request)
        if block is None:
            return None
        from modelspec.stages._containerize_image import server_digest

        return cls(options=block, model=dict(request.model), server=server_digest())

    def keyed(self) -> dict[str, Any]:
        """Without what reaches the image through the stages before it."""
        options = self.options.model_dump(mode="json", exclude={"base", "python", "builder", "apt", "run"})
        return {**options, "model": self.model, "server": self.server}

    def inputs(self, request: Request) -> Mapping[str, str]:
        return {**super().inputs(request), "published": "published", "metrics": "metrics"}

    def run(self, job: Job) -> None:
        """Write the layout, without the blobs that come from the stages before. Raises MS540."""
        from modelspec.oci import modelpack
        from modelspec.oci.descriptor import Descriptor
        from modelspec.oci.layout import Layout, tag_of
        from modelspec.stages import _containerize_image as image

        layout, epoch = Layout(job.output("image")), self.options.epoch
        files = dict(_published(job.root / "in"))
        runtime = json.loads((job.input("published-runtime") / "runtime.json").read_bytes())
        server = image.add_layer(layout, _contents(image.server_files(), image.CODE), epoch)
        model = image.add_layer(layout, _contents(files, f"{image.MODELS}/{self.model['name']}"), epoch)
        labels = image.labels(
            self.model, self.options.source, self.options.revision, self.options.labels, _digest(files)
        )
        program = image.program(self.model, runtime, self.options.grpc_port)
        images, docker = [], []
        for platform in self.options.platforms:
            self._warn(job, platform)
            base, packages = (_read(job, slot, platform) for slot in self.takes)
            layers = (("packages", Descriptor.from_json(packages)), ("server", server), ("model", model))
            made, said = image.Parts(base, layers, program, labels, epoch).add_to(layout)
            images.append(made)
            docker.append({**said, "RepoTags": [self._tag(platform)]})
        said = {**self.model, "source": self.options.source, "revision": self.options.revision}
        config = modelpack.config(said, runtime, [model], epoch)
        pack = modelpack.add(layout, config, model, f"{image.MODELS}/{self.model['name']}", labels)
        tag = tag_of(self.model["version"])
        layout.finish(images, pack, tag, docker)

    def _tag(self, platform: str) -> str:
        """What `docker load` calls it. One name cannot have two platforms there."""
        from modelspec.oci.layout import tag_of

        suffix = f"-{platform.rpartition('/')[2]}" if len(self.options.platforms) > 1 else ""
        return f"{self.options.image or self.model['name']}:{tag_of(self.model['version'])}{suffix}"

    def _warn(self, job: Job, platform: str) -> None:
        if (here := toolchain.fact("arch")) != _MACHINES[platform]:
            job.warn(
                "MS562",
                f"the image for {platform} holds a model that was verified on {here}",
                help="build it on that machine too, or run its golden inputs there",
                path=("platforms",),
            )


def _read(job: Job, slot: str, platform: str) -> Any:
    return json.loads((job.input(slot) / f"{platform.replace('/', '-')}.json").read_bytes())


def _published(inputs: Path) -> Iterator[tuple[str, Path | bytes]]:
    """What dist/<target>/ holds beside the image, as relative path -> file."""
    from modelspec.figures import StageFigures, as_file, merged

    for folder in sorted(inputs.glob("published-*")):
        yield from ((name, folder / name) for name in digest.files_under(folder))
    found = []
    for folder in sorted(inputs.glob("metrics-*")):
        stage = folder.name.split("-", 2)[2]
        found.append(StageFigures(stage, json.loads((folder / f"{stage}.json").read_bytes())))
    yield "metrics.json", as_file(merged(found).reproducible())


def _contents(files: Mapping[str, Path | bytes], folder: str) -> dict[str, Any]:
    from modelspec.oci.layer import Content

    return {f"{folder}/{name}": Content(source) for name, source in files.items()}


def _digest(files: Mapping[str, Path | bytes]) -> str:
    """Of all the model's files."""
    return digest.of_tree(
        {name: digest.of_bytes(f) if isinstance(f, bytes) else digest.of_file(f) for name, f in files.items()}
    )
