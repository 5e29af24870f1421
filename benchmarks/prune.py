"""What pruning with recovery gains and costs on the digits example, over three seeds: `python -m benchmarks.prune`."""

import gzip
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measure import MODELSPEC, ROOT, run

SEEDS = (0, 1, 2)
BATCHES = (1, 64)
WEIGHTS = {32: 93_728, 16: 23_824}
"""Weights that can become zero, by the width of the network: half of one is as exact as a share can be."""
METHODS: dict[str, dict[str, Any]] = {
    "structured 50%": {"method": "structured", "sparsity": 0.5},
    "structured 50% to 8": {"method": "structured", "sparsity": 0.5, "round_to": 8},
    "magnitude 80%": {"method": "magnitude", "sparsity": 0.8},
}


@dataclass(frozen=True)
class Figure:
    """One line of the table: a figure for each seed, and the bar that the worst of them must keep."""

    what: str
    values: Sequence[float]
    bar: float | None = None

    @property
    def is_missed(self) -> bool:
        return self.bar is not None and max(self.values) > self.bar

    def __str__(self) -> str:
        shown = "  ".join(f"{value:8.4f}" for value in self.values)
        verdict = "" if self.bar is None else f"bar {self.bar:.2f}  {'MISSED' if self.is_missed else 'ok'}"
        return f"{self.what:<54} {shown}  {verdict}".rstrip()


def project(folder: Path, width: int) -> dict[str, Any]:
    """The digits example at a width, with the images that its weights were trained on; its spec, for fp32 alone."""
    import numpy as np
    from sklearn.datasets import load_digits

    shutil.copytree(ROOT / "examples/digits", folder, ignore=shutil.ignore_patterns("__pycache__", "dist", "*.lock"))
    run([sys.executable, "make.py", str(width)], {}, cwd=folder)
    digits = load_digits()
    rows = np.random.default_rng(0).permutation(len(digits.images))[450 + 256 :]  # as in the example's make.py
    image = (digits.images[rows, None] / 16).astype(np.float32)
    np.savez_compressed(folder / "data/train.npz", image=image, digit=digits.target[rows].astype(np.int64))
    spec: dict[str, Any] = yaml.safe_load((folder / "model.yaml").read_text())
    spec["source"]["params"] = {"width": width}
    for block in ("quantize", "benchmark"):
        del spec[block]
    del spec["data"]["calibration"]
    spec["targets"] = [{"device": "cpu"}]
    spec["evaluate"]["gates"] = [{"metric": "accuracy", "max_drop": "off", "reason": "it is measured here"}]
    return spec


def built(folder: Path, name: str, spec: dict[str, Any]) -> Path:
    """The published folder of the one target."""
    (folder / "model.yaml").write_text(json.dumps({**spec, "name": name}))
    run([MODELSPEC, "build"], {"MODELSPEC_CACHE_DIR": str(folder / "cache")}, cwd=folder)
    return folder / "dist" / name / str(spec["version"]) / "cpu-fp32"


def pruned(folder: Path, spec: dict[str, Any], method: str) -> list[Path]:
    """A build with recovery for each seed."""
    train = {**spec, "data": {**spec["data"], "train": {"path": "data/train.npz", "labels": "digit"}}}
    label = method.replace(" ", "-").replace("%", "")
    return [
        built(
            folder,
            f"{label}-{seed}",
            {**train, "prune": METHODS[method], "finetune": {"data": "train", "seed": seed}},
        )
        for seed in SEEDS
    ]


def accuracy(target: Path, side: str = "metrics") -> float:
    """On the test set, of the build or of its source."""
    return float(json.loads((target / "metrics.json").read_text())[side]["accuracy"])


def model(target: Path) -> Path:
    """The ONNX file that is served."""
    (found,) = target.rglob("model.onnx")
    return found


def latencies(targets: Sequence[Path], batch: int) -> list[float]:
    """Median seconds of a call of each model on one thread, taken in turns."""
    import numpy as np

    from modelspec.formats.onnx_session import open_session

    image = {"image": np.random.default_rng(0).random((batch, 1, 8, 8), np.float32)}
    calls: list[Callable[[], Any]] = []
    for target in targets:
        session = open_session(model(target), optimize="all")
        calls.append(lambda session=session: session.run(image))  # type: ignore[misc]
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(300):
        for call, seconds in zip(calls, found, strict=True):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in found]


def zeros(target: Path) -> float:
    """Share of zeros among the weights with more than one axis."""
    import numpy as np
    import onnx

    tensors = [onnx.numpy_helper.to_array(t) for t in onnx.load(model(target)).graph.initializer]
    values = np.concatenate([tensor.ravel() for tensor in tensors if tensor.ndim > 1 and tensor.dtype.kind == "f"])
    return float((values == 0).mean())


def packed(target: Path) -> int:
    """Bytes of the served file after gzip."""
    return len(gzip.compress(model(target).read_bytes(), 9, mtime=0))


def structured(method: str, width: int, plain: Path, targets: Sequence[Path]) -> list[Figure]:
    """What the removal of channels gains. AVX-512 kernels work on blocks of 16 channels: 8 is too fine for them, and of
    the 16 channels with which the narrow network begins none can go."""
    size = model(plain).stat().st_size
    found = [Figure(f"{method}: size", [model(target).stat().st_size / size for target in targets], 0.35)]
    for batch in BATCHES:
        base, *others = latencies([plain, *targets], batch)
        has_bar = (width, batch) == (max(WEIGHTS), max(BATCHES)) and "round_to" not in METHODS[method]
        bar = 0.6 if has_bar else None
        found.append(Figure(f"{method}: latency at batch {batch}", [seconds / base for seconds in others], bar))
    lost = [accuracy(plain, "source") - accuracy(target) for target in targets]
    return [*found, Figure(f"{method}: accuracy lost", lost, 0.02)]


def sparse(method: str, width: int, plain: Path, targets: Sequence[Path]) -> list[Figure]:
    """What single zeros gain."""
    lost = [accuracy(plain, "source") - accuracy(target) for target in targets]
    base, *others = latencies([plain, *targets], max(BATCHES))
    return [
        Figure(
            f"{method}: zeros off the share", [abs(zeros(target) - 0.8) for target in targets], 0.5 / WEIGHTS[width]
        ),
        Figure(f"{method}: gzip", [packed(target) / packed(plain) for target in targets], 0.4),
        Figure(f"{method}: latency at batch {max(BATCHES)}", [seconds / base for seconds in others]),
        Figure(f"{method}: accuracy lost", lost, 0.01),
    ]


def figures() -> list[Figure]:
    """Build and measure; sizes and latencies are to those of the source."""
    found: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        for width in WEIGHTS:
            root = Path(folder) / f"digits-{width}"
            spec = project(root, width)
            plain = built(root, "plain", spec)
            for method, options in METHODS.items():
                measured = structured if options["method"] == "structured" else sparse
                rows = measured(method, width, plain, pruned(root, spec, method))
                found += [replace(row, what=f"width {width}, {row.what}") for row in rows]
    return found


def main() -> int:
    """Print the table; 1 when a bar is missed."""
    rows = figures()
    sys.stdout.write("\n".join(map(str, rows)) + "\n")
    return 1 if any(row.is_missed for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
