"""Manifests without a build: of a spec, for an image whose digest is known."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelspec import digest, lock
from modelspec.errors import ModelspecError, fail
from modelspec.execute.alone import Inputs, workers
from modelspec.manifests.options import Format, Manifests
from modelspec.oci.layout import Layout
from modelspec.oci.reference import parse
from modelspec.publish import folder_of
from modelspec.resolve import missing_packages
from modelspec.spec.load import Loaded, load
from modelspec.stages.manifest_render import ManifestRender
from modelspec.target import Target
from modelspec.words import meant


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    file: Path
    to: Path
    """The folder to write to."""
    formats: tuple[Format, ...] = ()
    """Those of the spec when empty."""
    target: str | None = None
    image: str | None = None
    """`registry/repository@sha256:...`; that of the build when left out."""
    dist: Path = Path("dist")
    timeout_s: float = 600.0


def render(asked: Asked) -> list[str]:
    """Write the manifests below `asked.to`; returns their paths. Raises ModelspecError, and writes nothing then."""
    loaded = load(asked.file)
    target = _target(loaded, asked.target)
    built = folder_of(loaded.spec, asked.dist) / target.label
    stage = _stage(loaded, asked, target, built)
    if missing := missing_packages({stage.extra: stage.tools()}):
        raise ModelspecError(missing)
    with (
        tempfile.TemporaryDirectory(prefix="modelspec-") as place,
        workers(Path(place) / "work", asked.timeout_s) as pool,
    ):
        try:
            inputs = _inputs(loaded, asked, built, Path(place))
            made = pool.outputs(stage, f"render of {target.label}", {}, inputs) / "manifests"
        except ModelspecError as error:
            raise _placed(error, loaded) from error
        paths = digest.files_under(made)
        for path in paths:
            (asked.to / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made / path, asked.to / path)
    return paths


def _target(loaded: Loaded, name: str | None) -> Target:
    """The target that is named, or the only one."""
    labels = [target.label for target in loaded.spec.targets]
    if name is None and len(labels) > 1:
        raise fail(
            "MS325", "the spec has several targets", help=f"--target {labels[0]}, or another of {', '.join(labels)}"
        )
    if name is not None and name not in labels:
        raise fail("MS308", f"--target: this spec has no target {name!r}", help=meant(name, labels))
    return loaded.spec.targets[labels.index(name) if name else 0]


def _stage(loaded: Loaded, asked: Asked, target: Target, built: Path) -> ManifestRender:
    block = loaded.spec.blocks.get(ManifestRender.block_name)
    if block is None and not asked.formats:
        raise fail(
            "MS325", "the spec has no manifests block, and no format is named", help="modelspec render kubernetes"
        )
    given: Manifests = block or Manifests(formats=asked.formats)
    if asked.formats:
        given = given.model_copy(update={"formats": asked.formats})
    if "nginx" in given.formats and given.nginx is None:
        raise fail(
            "MS325", "the format nginx needs the servers behind it", help="add manifests: {nginx: {servers: [...]}}"
        )
    if "triton" in given.formats and not (built / "model.onnx").is_file():
        raise fail("MS325", f"the format triton holds the model, and {built} has none", help="modelspec build")
    if asked.image:
        repository = asked.image.partition("@")[0]
    else:
        image = getattr(loaded.spec.blocks.get("containerize"), "image", None)
        if image is None:
            raise fail(
                "MS364",
                "no registry is given",
                help="--image registry/repository@sha256:..., or containerize: {image: ...}",
            )
        repository = image
    locked = lock.read(loaded.file)
    request = loaded.spec.request(loaded.spec.targets.index(target), locked.lock.found if locked else {})
    return ManifestRender(
        manifests=given,
        model=loaded.spec.name,
        version=loaded.spec.version,
        repository=repository,
        pinned=ManifestRender.amounts(request),
    )


def _inputs(loaded: Loaded, asked: Asked, built: Path, place: Path) -> Inputs:
    """The slots: of the build where there is one, else what the spec says of the server."""
    layout = place / "image"
    _write_index(layout, _digest(asked, built))
    runtime, signature = built / "runtime.json", built / "signature.json"
    if not runtime.is_file():
        runtime, signature = place / "runtime.json", place / "signature.json"
        serve = loaded.spec.blocks.get("serve")
        runtime.write_text(json.dumps({"serve": serve.settings() if serve else {}}))
        signature.write_text(json.dumps(loaded.spec.signature.as_lists()))
    inputs: dict[str, Mapping[str, Path]] = {
        "image": {name: layout / name for name in digest.files_under(layout)},
        "runtime": {"runtime.json": runtime},
        "signature": {"signature.json": signature},
    }
    if (built / "model.onnx").is_file():
        inputs["artifact"] = {path.name: path for path in built.iterdir() if path.name.startswith("model.")}
    block: Any = loaded.spec.blocks.get(ManifestRender.block_name)
    if block is not None and block.templates is not None:
        own = loaded.root / block.templates
        inputs["templates"] = {f"templates/{name}": own / name for name in digest.files_under(own)}
    return inputs


def _digest(asked: Asked, built: Path) -> str:
    """Of the image that is to be deployed."""
    if asked.image:
        if not (found := parse(asked.image).digest):
            raise fail(
                "MS325", f"--image: {asked.image!r} has no digest", help="write registry/repository@sha256:<64 hex>"
            )
        return found
    layout = Layout(built / "image")
    if not layout.exists:
        raise fail(
            "MS325", f"{built} holds no image", help="modelspec build; or --image registry/repository@sha256:..."
        )
    return layout.index()[0].digest


def _write_index(folder: Path, deployed: str) -> None:
    """As much of a layout as the stage reads."""
    folder.mkdir()
    kind = "application/vnd.oci.image.manifest.v1+json"
    entry = {"mediaType": kind, "digest": deployed, "size": 2}
    (folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


def _placed(error: ModelspecError, loaded: Loaded) -> ModelspecError:
    """With the lines of model.yaml."""
    found = []
    for problem in error.diagnostics:
        path = (ManifestRender.block_name, *problem.path)
        path = path if loaded.positions.has(path[:1]) else ()
        found.append(problem.at(file=str(loaded.file), span=loaded.positions.value(path), path=path))
    return ModelspecError(tuple(found), error.notes)
