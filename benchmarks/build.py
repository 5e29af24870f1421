"""Cold builds, and builds with nothing to do, against a bare script that makes the same library calls."""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measure import MODELSPEC, ROOT, Row, medians, run, show

EXAMPLES = ("digits", "minilm")
EXPORTERS = ("dynamo", "torchscript")


def project(name: str, exporter: str, folder: Path) -> Path:
    """A copy of an example that asks for no more than the bare script does: one int8 target, and no evaluation."""
    shutil.copytree(ROOT / "examples" / name, folder, ignore=shutil.ignore_patterns("__pycache__", "dist"))
    spec: dict[str, Any] = yaml.safe_load((folder / "model.yaml").read_text())
    for block in ("evaluate", "benchmark"):
        spec.pop(block, None)
    del spec["data"]["test"]
    spec["targets"] = [{"device": "cpu", "precision": "int8"}]
    spec["convert"] = {"exporter": exporter}
    (folder / "model.yaml").write_text(json.dumps({key: value for key, value in spec.items() if value}))
    return folder


def built(source: Path, folder: Path) -> float:
    """Seconds of a build that keeps everything it makes in `folder`."""
    env = {"MODELSPEC_CACHE_DIR": str(folder / "cache")}
    return run([MODELSPEC, "build", "-f", str(source / "model.yaml"), "-o", str(folder / "dist")], env)


def fresh(root: Path, command: Callable[[Path], float]) -> Callable[[], float]:
    """The command in an empty folder of its own each time."""

    def measured() -> float:
        with tempfile.TemporaryDirectory(dir=root) as folder:
            return command(Path(folder))

    return measured


def rows(runs: int = 3) -> list[Row]:
    """Each example with each exporter."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        return [row for name in EXAMPLES for exporter in EXPORTERS for row in _measured(name, exporter, root, runs)]


def _measured(name: str, exporter: str, root: Path, runs: int) -> list[Row]:
    source = project(name, exporter, root / f"{name}-{exporter}")
    bare = [sys.executable, str(ROOT / "benchmarks/bare.py"), str(source), name, exporter]
    warm = root / f"{name}-{exporter}-warm"
    built(source, warm)
    found = medians(
        {
            "bare": fresh(root, lambda folder: run([*bare, str(folder)])),
            "cold": fresh(root, lambda folder: built(source, folder)),
            "again": lambda: built(source, warm),
        },
        runs,
    )
    label = f"{name}, {exporter}"
    return [
        Row(f"{label}: cold build", "the same calls in a bare script", found["cold"], found["bare"], 1.25),
        Row(f"{label}: nothing to do", "the same calls in a bare script", found["again"], found["bare"]),
    ]


if __name__ == "__main__":
    show(rows())
