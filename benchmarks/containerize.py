"""Images of digits against `docker build` of an equivalent Dockerfile and against copying the same bytes, in one run.

    python -m benchmarks.containerize ROOTFS.tar [--runs N]

ROOTFS.tar is a root file system with Python 3.11. The engine is the one that DOCKER_HOST names, or one of
its own. The Dockerfile copies what
modelspec puts into its layers, already unpacked; neither side downloads anything but in the row that says so.
"""

import argparse
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml

from benchmarks.measure import MODELSPEC, ROOT, Row, medians, run, show
from modelspec.oci.contents import describe
from modelspec.oci.layout import Layout
from tests.oci import bases, services

TARGET = "cpu-int8"
BASE = "modelspec-benchmarks/base:1"


def project(folder: Path, rootfs: Path) -> Path:
    """The example with one target, and an image on the given root file system."""
    shutil.copytree(ROOT / "examples/digits", folder, ignore=shutil.ignore_patterns("__pycache__", "dist"))
    spec = yaml.safe_load((folder / "model.yaml").read_text())
    spec.pop("benchmark", None)
    spec["targets"] = [{"device": "cpu", "precision": "int8"}]
    spec["containerize"] = {"base": "oci:base"}
    (folder / "model.yaml").write_text(json.dumps(spec))
    bases.write(folder / "base", tar=rootfs)
    return folder


def build(source: Path, cache: Path, *again: str) -> float:
    """Seconds of a build that makes the stages in `again` anew, and publishes to a new folder."""
    with tempfile.TemporaryDirectory(dir=cache.parent) as out:
        options = [word for stage in again for word in ("--no-cache", stage)]
        command = [MODELSPEC, "build", "-f", str(source / "model.yaml"), "-o", out, *options]
        return run(command, {"MODELSPEC_CACHE_DIR": str(cache)})


def context(image: Path, folder: Path) -> Path:
    """What the layers on top of the base hold, and a Dockerfile that copies them."""
    said = describe(Layout(image)).images[0]
    config, lines = said.config["config"], [f"FROM {BASE}"]
    for layer in said.layers[1:]:
        with tarfile.open(Layout(image).blob(layer.descriptor.digest)) as tar:
            tar.extractall(folder / layer.name, filter="data")
        lines.append(f"COPY {layer.name}/ /")
    lines += [f"ENV {name}={value}" for name, value in (entry.split("=", 1) for entry in config["Env"])]
    lines += [f"USER {config['User']}", f"ENTRYPOINT {json.dumps(config['Entrypoint'])}"]
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
    return folder


def copied(image: Path, folder: Path) -> float:
    """Seconds in which cp copies the image and the disk has it."""
    try:
        return run(["sh", "-c", 'cp -r "$1" "$2" && sync -f "$2"', "sh", str(image), str(folder)])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rows(rootfs: Path, runs: int = 3) -> list[Row]:
    """Build once, then measure in turns."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        source, cache = project(root / "project", rootfs), root / "cache"
        out = root / "dist"
        command = [MODELSPEC, "build", "-f", str(source / "model.yaml"), "-o", str(out)]
        run(command, {"MODELSPEC_CACHE_DIR": str(cache)})
        image = next(out.glob(f"*/*/{TARGET}/image"))
        subprocess.run(["docker", "import", str(rootfs), BASE], check=True, capture_output=True)
        dockered = context(image, root / "context")
        tag = "modelspec-benchmarks/digits:1"
        contenders: dict[str, Callable[[], float]] = {
            "cp": lambda: copied(image, root / "copy"),
            "model": lambda: build(source, cache, "containerize"),
            "cold": lambda: build(source, cache, "base", "dependencies", "containerize"),
            "docker": lambda: run(["docker", "build", "--no-cache", "-q", "-t", tag, str(dockered)]),
            "docker again": lambda: _another_model(dockered, tag),
        }
        found = medians(contenders, runs)
    return [
        Row("image of another model, published", "cp of the image, synced", found["model"], found["cp"]),
        Row("image of another model, published", "docker build, other layers cached", found["model"], found["docker again"]),
        Row("image, wheels downloaded, published", "cp of the image, synced", found["cold"], found["cp"]),
        Row("image, wheels downloaded, published", "docker build, nothing downloaded", found["cold"], found["docker"]),
    ]  # fmt: skip


def _another_model(context: Path, tag: str) -> float:
    """Seconds in which Docker builds the same with other bytes of the model."""
    (context / "model" / "changed").write_bytes(os.urandom(8))
    return run(["docker", "build", "-q", "-t", tag, str(context)])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.containerize", description=__doc__.partition("\n")[0])
    parser.add_argument("rootfs", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, services.engine_in(Path(folder)) as address:
        os.environ["DOCKER_HOST"] = address
        show(rows(asked.rootfs, asked.runs))


if __name__ == "__main__":
    main()
