"""What quantization of MiniLM gains and costs, as ratios to fp32: `python -m benchmarks.quantize`.

Builds the example at each precision, its gates included, and reads size and cosine of the 200 test sentences off the
publication; the time is that of one sentence of 32 tokens on one thread, in turns. Exits with 1 when a bar is missed. Minutes.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measure import MODELSPEC, ROOT, run
from modelspec import toolchain
from modelspec.formats import npz, onnx_model
from modelspec.runtime.processing import text_input
from modelspec.targets.cpu import Cpu

PRECISIONS = ("fp32", "int8", "int8w", "int4")
COSINE = {"int8": 0.99, "int8w": 0.99, "int4": 0.97}
"""The least mean cosine to the source: also the gates of the builds."""


@dataclass(frozen=True)
class Line:
    """One figure, and the bar that it must reach."""

    what: str
    value: float
    most: float | None = None
    least: float | None = None

    @property
    def missed(self) -> bool:
        return (self.most is not None and self.value > self.most) or (
            self.least is not None and self.value < self.least
        )

    def __str__(self) -> str:
        bars = [f"bar {word} {bar:g}" for word, bar in (("<=", self.most), (">=", self.least)) if bar is not None]
        return f"{self.what:<44} {self.value:8.4f}  {'  '.join(bars)}  {'MISSED' if self.missed else 'ok' if bars else ''}".rstrip()


def published(folder: Path) -> Path:
    """The example, built at every precision."""
    project = folder / "minilm"
    shutil.copytree(ROOT / "examples" / "minilm", project, ignore=shutil.ignore_patterns("dist", "__pycache__"))
    spec = yaml.safe_load((project / "model.yaml").read_text())
    spec["targets"] = [{"device": "cpu", "precision": precision} for precision in PRECISIONS]
    spec["evaluate"]["gates"] = [
        {"metric": "cosine_mean", "min": least, "max_drop": round(1 - least, 6), "targets": [f"cpu-{precision}"]}
        for precision, least in COSINE.items()
    ]
    (project / "model.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    run([MODELSPEC, "build"], env={"MODELSPEC_CACHE_DIR": str(folder / "cache")}, cwd=project)
    return project / "dist" / "minilm" / "1.0.0"


def linear_share(model: Path) -> float:
    """The bytes of all packed matrices, against those of their floats."""
    proto = onnx_model.read(model)
    sizes = {tensor.name: len(tensor.raw_data) for tensor in proto.graph.initializer}
    packed = floats = 0
    for node in (node for node in proto.graph.node if node.op_type == "MatMulNBits"):
        shape = {attribute.name: attribute.i for attribute in node.attribute}
        packed += sum(sizes.get(name, 0) for name in node.input[1:])
        floats += 4 * shape["K"] * shape["N"]
    return packed / floats


def seconds(dist: Path, inputs: dict[str, Any], rounds: int) -> dict[str, float]:
    """The median time of one sentence at each precision, one thread."""
    one = {name: array[:1] for name, array in inputs.items()}
    sessions = {p: Cpu(device="cpu").open_session(dist / f"cpu-{p}") for p in PRECISIONS}
    found: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for index in range(rounds + 5):
        for precision, session in sessions.items():
            start = time.perf_counter()
            session.run(one)
            if index >= 5:
                found[precision].append(time.perf_counter() - start)
    return {precision: statistics.median(times) for precision, times in found.items()}


def lines(dist: Path, inputs: dict[str, Any], rounds: int) -> Iterator[Line]:
    """Every figure."""
    metrics = {p: json.loads((dist / f"cpu-{p}" / "metrics.json").read_text())["metrics"] for p in PRECISIONS}
    times = seconds(dist, inputs, rounds)
    has_vnni = bool(set(toolchain.VNNI) & set(toolchain.fact("isa").split("+")))
    for precision in PRECISIONS[1:]:
        size = metrics[precision]["size"] / metrics["fp32"]["size"]
        yield Line(f"{precision}: size, of fp32", size, most=0.27 if precision == "int8" else None)
        if precision != "int8":
            share = linear_share(dist / f"cpu-{precision}" / "model.onnx")
            yield Line(f"{precision}: linear weights, of fp32", share, most=0.2 if precision == "int4" else None)
        yield Line(f"{precision}: cosine_mean", metrics[precision]["cosine_mean"], least=COSINE[precision])
        yield Line(f"{precision}: cosine_min", metrics[precision]["cosine_min"])
        least = 2.0 if precision == "int8" and has_vnni else None
        yield Line(f"{precision}: speed, one thread, against fp32", times["fp32"] / times[precision], least=least)


def tokens(target: Path) -> dict[str, Any]:
    """The first sentence of the example, as the tokenizer gives it to the model."""
    read = text_input(json.loads((target / "runtime.json").read_text()), target)
    assert read is not None
    golden = npz.read(target / "golden" / "inputs.npz")
    return read({"text": golden["text"][:1]})


def main() -> int:
    """Build, measure, print, compare with the bars."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantize", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="calls of each precision (default: 100)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dist = published(Path(folder))
        inputs = tokens(dist / "cpu-fp32")
        missed = []
        for line in lines(dist, dict(inputs), asked.rounds):
            print(line, flush=True)
            missed += [line.what] if line.missed else []
    print(f"{len(missed)} bars missed" + (f": {'; '.join(missed)}" if missed else ""))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
