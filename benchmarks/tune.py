"""The search on the digits example against twelve specs written by hand: the size of the best that passes the same gates.

Both choose by one half of the example's test set; what they chose is then built and gated on the other half, which
neither has seen. The twelve are ordinary builds, one by one, and know nothing of the search.
"""

import itertools
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.measure import MODELSPEC, ROOT, Row, show

TRIALS = 24
SEARCH: dict[str, Any] = {
    "quantize.int8": [
        {"method": "dynamic"},
        {"method": "dynamic", "per_channel": False},
        {"method": "static", "data": "calibration"},
        {"method": "static", "data": "calibration", "per_channel": False},
        {"method": "static", "data": "calibration", "ranges": "entropy", "per_channel": False},
        {"method": "static", "data": "calibration", "ranges": "percentile", "per_channel": False},
    ],
    "convert.exporter": ["dynamo", "torchscript"],
    "convert.opset": {"low": 18, "high": 20},
}
RANGES, PER_CHANNEL, EXPORTERS = ("minmax", "entropy", "percentile"), (True, False), ("dynamo", "torchscript")


def project(folder: Path) -> dict[str, Any]:
    """A copy of the example with two halves of its test set; returns its spec, which builds the int8 target alone."""
    shutil.copytree(ROOT / "examples/digits", folder, ignore=shutil.ignore_patterns("__pycache__", "dist"))
    with np.load(folder / "data/test.npz") as arrays:
        whole = dict(arrays)
    half = len(whole["digit"]) // 2
    np.savez(folder / "data/validation.npz", **{name: array[:half] for name, array in whole.items()})
    np.savez(folder / "data/test.npz", **{name: array[half:] for name, array in whole.items()})
    spec: dict[str, Any] = yaml.safe_load((folder / "model.yaml").read_text())
    del spec["benchmark"]
    spec["targets"] = [{"device": "cpu", "precision": "int8"}]
    return spec


def twelve(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The specs that one would try by hand, each judged by the validation half."""
    data = {**spec["data"], "test": {**spec["data"]["test"], "path": "data/validation.npz"}}
    return [
        {
            **spec,
            "data": data,
            "convert": {"exporter": exporter},
            "quantize": {"int8": {"method": "static", "data": "calibration", "ranges": r, "per_channel": per_channel}},
        }
        for r, per_channel, exporter in itertools.product(RANGES, PER_CHANNEL, EXPORTERS)
    ]


class Bench:
    """The folder, and the command in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec = project(folder)

    def run(self, spec: dict[str, Any], *arguments: str) -> tuple[int, dict[str, Any], float]:
        """`modelspec <arguments> --format json` on a spec: exit status, what it printed, and the seconds it took."""
        (self.folder / "model.yaml").write_text(json.dumps(spec))
        start = time.perf_counter()
        command = [MODELSPEC, *arguments, "--format", "json", "--cache-dir", str(self.folder.parent / "cache")]
        done = subprocess.run(command, check=False, cwd=self.folder, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        if done.returncode not in {0, 1}:
            raise SystemExit(f"modelspec {' '.join(arguments)} exited {done.returncode}\n{done.stdout}{done.stderr}")
        return done.returncode, json.loads(done.stdout), seconds

    def best_of_twelve(self) -> float:
        """The bytes of the smallest that passes."""
        sizes = []
        for spec in twelve(self.spec):
            status, found, _ = self.run(spec, "build")
            sizes += [found["metrics"]["cpu-int8"]["size"]] if status == 0 else []
        return float(min(sizes))

    def search(self, seed: int) -> tuple[dict[str, Any], float]:
        """What a search finds, with the seconds it took."""
        validation = {**self.spec["data"]["test"], "path": "data/validation.npz"}
        tune = {"data": "validation", "search": SEARCH, "trials": TRIALS, "seed": seed}
        spec = {**self.spec, "data": {**self.spec["data"], "validation": validation}, "tune": tune}
        status, found, seconds = self.run(spec, "tune", "--write")
        if status:
            raise SystemExit("the search found nothing that passes")
        return found, seconds

    def require_held_out(self) -> None:
        """What the search wrote passes its gates on the half that it has not seen."""
        spec = yaml.safe_load((self.folder / "model.yaml").read_text())
        status, found, _ = self.run(spec, "build")
        if status:
            raise SystemExit(f"what was chosen fails on held-out data: {found}")


def rows() -> list[Row]:
    """Size against the twelve, over three seeds; and a second search against the first."""
    found: list[Row] = []
    times: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder, "digits"))
        twelve_kb = bench.best_of_twelve() / 1e3
        for seed in range(3):
            first, seconds = bench.search(seed)
            bench.require_held_out()
            again, less = bench.search(seed)
            if again["ran"] or again["diff"] != first["diff"]:
                raise SystemExit("the second search is not the first one, from the cache")
            size = first["trials"][first["best"]]["metrics"]["size"] / 1e3
            times.append((less, seconds))
            found.append(Row(f"tune on digits, seed {seed}", "the best of twelve specs", size, twelve_kb, 1.0, "kB"))
    # The later seeds find in the cache much of what the first one built.
    return [*found, Row(f"the search again, {TRIALS} trials cached", "the first search", *times[0])]


if __name__ == "__main__":
    show(rows())
