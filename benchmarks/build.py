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


def rows(runs: int = 3) -> list[Row]:
    """Each example with each exporter."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            row for name in ("digits", "minilm") for e in EXPORTERS for row in _measured(name, e, Path(folder), runs)
        ]


def _measured(name: str, exporter: str, root: Path, runs: int) -> list[Row]:
    source = project(name, exporter, root / f"{name}-{exporter}")
    bare = [sys.executable, str(ROOT / "benchmarks/bare.py"), str(source), name, exporter]

    def fresh(command: Callable[[Path], float]) -> Callable[[], float]:
        def measured() -> float:
            with tempfile.TemporaryDirectory(dir=root) as folder:
                return command(Path(folder))

        return measured

    warm = root / f"{name}-{exporter}-warm"
    found = medians(
        {
            "bare": fresh(lambda folder: run([*bare, str(folder)])),
            "cold": fresh(lambda folder: _build(source, folder)),
            "first": lambda: _build(source, warm),
            "no-op": lambda: _build(source, warm),
        },
        runs,
    )
    label = f"{name}, {exporter}"
    return [
        Row(f"{label}: cold build", "the same calls in a bare script", found["cold"], found["bare"], 1.25),
        Row(f"{label}: nothing to do", "the same calls in a bare script", found["no-op"], found["bare"]),
    ]


def _build(source: Path, folder: Path) -> float:
    env = {"MODELSPEC_CACHE_DIR": str(folder / "cache")}
    return run([MODELSPEC, "build", "-f", str(source / "model.yaml"), "-o", str(folder / "dist")], env)


if __name__ == "__main__":
    show(rows())
