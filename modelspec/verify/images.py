"""The images of a published folder: every blob is there under its digest, and the model in it is the one beside it."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from modelspec import digest
from modelspec.errors import Diagnostic, ModelspecError
from modelspec.oci import document
from modelspec.oci.contents import ImageSaid, describe
from modelspec.oci.descriptor import Descriptor
from modelspec.oci.layout import BLOBS, INDEX, Layout, manifests
from modelspec.verify.files import Files
from modelspec.verify.record import AGAIN, BuildSaid, ImageRecord

FOLDER = "image"


def check(folder: Path, files: Files, build: BuildSaid) -> Iterator[Diagnostic]:
    """Problems: MS650 for a layout that is not whole, MS651 for a model that is not the published one."""
    for label in build.metrics:
        layout = Layout(folder / label / FOLDER)
        inside = [path for path in files.digests if path.startswith(f"{label}/{FOLDER}/")]
        if not inside and not any(path.startswith(f"{label}/{FOLDER}/") for path in files.listed):
            continue
        try:
            yield from _layout(layout, label, files, build.images.get(label))
        except ModelspecError as error:
            yield from (problem.at(message=f"{label}: {problem.message}") for problem in error.diagnostics)
        except (OSError, ValueError, LookupError, TypeError, tarfile.TarError) as error:
            yield _problem(label, f"it cannot be read: {type(error).__name__}: {error}")


def _layout(layout: Layout, label: str, files: Files, recorded: ImageRecord | None) -> Iterator[Diagnostic]:
    named = set()
    for descriptor in manifests(layout):
        config, layers = document.parts(layout.read(descriptor), descriptor.digest)
        for each in (descriptor, config, *layers):
            named.add(each.digest)
            yield from _blob(each, label, files)
    deployed = layout.index()[0]
    lying = {path.rpartition("/")[2] for path in files.digests if path.startswith(f"{label}/{FOLDER}/{BLOBS}/")}
    for sha256 in sorted(lying - {each.removeprefix("sha256:") for each in (*named, deployed.digest)}):
        yield _problem(label, f"no manifest names the blob {sha256}")
    for image in describe(layout).images:
        yield from _model(layout, image, label, files)
    if recorded is None or recorded.digest != deployed.digest:
        made = recorded.digest if recorded else "none"
        yield _problem(label, f"{INDEX} starts at {deployed.digest}, and the build made {made}")


def _blob(descriptor: Descriptor, label: str, files: Files) -> Iterator[Diagnostic]:
    path = f"{label}/{FOLDER}/{BLOBS}/{descriptor.digest.removeprefix('sha256:')}"
    found = files.digests.get(path)
    if found is None:
        yield _problem(label, f"the blob {descriptor.digest} is missing")
    elif f"sha256:{found}" != descriptor.digest:
        yield _problem(label, f"the blob {descriptor.digest} has the digest sha256:{found}")


def _model(layout: Layout, image: ImageSaid, label: str, files: Files) -> Iterator[Diagnostic]:
    """The files below /models/<name>/ are those of the target, byte for byte, and no others."""
    prefix = f"{label}/"
    aside = (f"{prefix}{FOLDER}/", f"{prefix}manifests/")
    expected = {
        path.removeprefix(prefix): sha256
        for path, sha256 in files.digests.items()
        if path.startswith(prefix) and not path.startswith(aside)
    }
    layer = next((each for each in image.layers if each.name == "model"), None)
    if layer is None:
        yield _problem(label, "it has no layer of the model")
        return
    found: dict[str, str] = {}
    with tarfile.open(layout.blob(layer.descriptor.digest), "r:") as tar:
        for member in tar:
            if member.isreg() and (file := tar.extractfile(member)):
                _, _, name = member.name.split("/", 2)
                found[name] = digest.of_stream(cast(BinaryIO, file))
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            text = f"the model in the image of {label} is not the one beside it: {name} differs"
            yield Diagnostic("MS651", text, help=AGAIN)


def _problem(label: str, text: str) -> Diagnostic:
    return Diagnostic("MS650", f"the image of {label} is not whole: {text}", help=AGAIN)
