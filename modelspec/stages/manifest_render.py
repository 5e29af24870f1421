"""Writes what deploys the image: checked files for Kubernetes, Prometheus, Helm and the others that are asked for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

from modelspec import digest, resources
from modelspec.errors import Diagnostic, ModelspecError, fail
from modelspec.lookup import Pin
from modelspec.manifests.options import Manifests, without_effect
from modelspec.stage import Determinism, Job, Request, Stage


class ManifestRender(Stage):
    """image, runtime, signature -> manifests."""

    name: ClassVar[str] = "manifest-render"
    block_name: ClassVar[str] = "manifests"
    summary: ClassVar[str] = "write the manifests that deploy the image"
    revision: ClassVar[int] = 1
    after: ClassVar[tuple[str, ...]] = ("containerize", "serve")
    takes: ClassVar[tuple[str, ...]] = ("image", "runtime", "signature")
    gives: ClassVar[tuple[str, ...]] = ("manifests",)
    publishes: ClassVar[Mapping[str, str]] = {"manifests": "manifests"}
    gated: ClassVar[bool] = True
    extra: ClassVar[str] = "manifests"
    determinism: ClassVar[Determinism] = Determinism.EXACT
    block: ClassVar[Any] = Manifests
    paths: ClassVar[tuple[str, ...]] = ("templates",)

    manifests: Manifests = Field(description="What is written.", examples=[{"formats": ["kubernetes"]}])
    model: str = Field(description="Name of the model.", examples=["digits"])
    version: str = Field(description="Version of the model.", examples=["1.0.0"])
    repository: str = Field(description="Where the image will be.", examples=["registry.example/vision/digits"])
    pinned: dict[str, str] = Field(
        default_factory=dict, description="Resources by what was measured.", examples=[{"cpu": "2", "memory": "192MiB"}]
    )

    @classmethod
    def pins(cls, request: Request) -> tuple[Pin, ...]:
        if cls.block_name not in request.blocks:
            return ()
        from modelspec.stages._manifest_render_pins import pins

        return pins(request.blocks.get(cls.block_name), request)

    @classmethod
    def configure(cls, request: Request) -> Self | None:
        """Asked for by the block `manifests`. Raises MS362 to MS366 where it says nothing, or what Kubernetes would refuse."""
        block = request.blocks.get(cls.block_name)
        if block is None:
            return None
        if found := tuple(_useless(key, formats) for key, formats in without_effect(block)):
            raise ModelspecError(found)
        name, image = request.model["name"], getattr(request.blocks.get("containerize"), "image", None)
        if not name[0].isalpha():
            raise fail("MS363", f"{name!r} begins with a digit, and the names of services do not",
                       help=f"name: model-{name}", path=("name",))  # fmt: skip
        if image is None:
            raise fail("MS364", "manifests name an image that nodes can pull, and no registry is given",
                       help="add containerize: {image: registry.example/team/" + name + "}", path=("manifests",))  # fmt: skip
        _require_fitting(block, request)
        return cls(
            manifests=block, model=name, version=request.model["version"], repository=image, pinned=cls.amounts(request)
        )

    @classmethod
    def amounts(cls, request: Request) -> dict[str, str]:
        """The resources that model.lock pins for the target. Raises MS366."""
        from modelspec.stages._manifest_render_pins import pinned, pins

        return pinned(pins(request.blocks.get(cls.block_name), request), request)

    @classmethod
    def origin(cls, request: Request) -> tuple[str | int, ...]:
        return (cls.block_name,)

    def named_by(self, field: str) -> Any:
        return self.manifests.templates

    def keyed(self) -> dict[str, Any]:
        """The options, and the templates and schemas that ship with modelspec."""
        block = self.manifests.keyed()
        own = {"model": self.model, "version": self.version, "repository": self.repository}
        amounts = {"pinned": self.pinned} if self.pinned else {}
        return {"manifests": block, **own, **amounts, "shipped": shipped(self.manifests.formats)}

    def tools(self) -> tuple[str, ...]:
        return ("jsonschema",)

    def inputs(self, request: Request) -> Mapping[str, str]:
        names = (*self.takes, *(("artifact",) if "triton" in self.manifests.formats else ()))
        return {slot: slot for slot in names}

    def run(self, job: Job) -> None:
        """Write all files. Raises MS570 to MS574, and MS576, with everything that is wrong with them."""
        from modelspec.manifests.facts import Facts, ImageFacts, ServerFacts
        from modelspec.manifests.write import write
        from modelspec.oci.layout import Layout
        from modelspec.stages._manifest_render_pins import completed

        runtime = json.loads((job.input("runtime") / "runtime.json").read_bytes())
        signature = json.loads((job.input("signature") / "signature.json").read_bytes())
        image = ImageFacts(self.repository, Layout(job.input("image")).index()[0].digest)
        facts = Facts(self.model, self.version, image, ServerFacts(runtime), signature)
        own = job.files.path("templates") if job.has("templates") else None
        target = job.output("manifests")
        write(completed(self.manifests, self.pinned), facts, target, own)
        if "triton" in self.manifests.formats:
            _repository(job.input("artifact"), runtime, target / "triton" / self.model)


def _require_fitting(block: Manifests, request: Request) -> None:
    """Ask at once, and not when everything is built."""
    from modelspec.manifests.values import require_fitting
    from modelspec.stages._manifest_render_pins import server_facts

    try:
        require_fitting(block, server_facts(request))
    except ModelspecError as error:
        raise ModelspecError(
            tuple(problem.at(path=("manifests", *problem.path)) for problem in error.diagnostics)
        ) from error


def _useless(key: str, formats: tuple[str, ...]) -> Diagnostic:
    fix = f"remove it, or add {' or '.join(formats)} to formats"
    return Diagnostic("MS362", f"{key!r} has no effect in the formats asked for", help=fix, path=("manifests", key))


def shipped(formats: tuple[str, ...]) -> dict[str, str]:
    """The digests of the templates of the formats, and of the schemas."""
    from modelspec.manifests import schemas

    root = resources.folder("templates")
    folders = [root / name for name in (*formats, *(("overlays",) if "kubernetes" in formats else ()))]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    found = {path.relative_to(root).as_posix(): digest.of_file(path) for path in sorted(files)}
    return found | {name: digest.of_file(resources.folder("schemas") / name) for name in schemas.FILES}


def _repository(artifact: Path, runtime: Mapping[str, Any], folder: Path) -> None:
    """The model where Triton looks for it, beside its config.pbtxt; what belongs to it lies in a folder of its name."""
    import shutil

    if runtime.get("package") or runtime["file"] != "model.onnx":
        raise fail("MS576", "Triton reads a model.onnx as it is, and this one is compressed or in another format",
                   help="remove package, or leave triton out of formats", path=("formats",))  # fmt: skip
    files = sorted(path for path in artifact.iterdir() if path.is_file())
    version = folder / "1"
    place = version / "model.onnx" if len(files) > 1 else version
    place.mkdir(parents=True)
    for path in files:
        shutil.copyfile(path, place / path.name)
