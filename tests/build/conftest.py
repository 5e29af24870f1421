"""A small real project, and the command run as a user runs it."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

SPEC = """\
apiVersion: modelspec/v1
name: tiny
version: "1.0.0"
source: {framework: onnx, artifact: model.onnx}
data:
  test: {path: test.npz, labels: y}
  calibration: {path: calibration.npz}
quantize:
  int8: {method: static, data: calibration, ranges: minmax}
evaluate:
  task: classification
  data: test
  metrics: [accuracy]
  gates:
    - {metric: accuracy, min: 0.5, max_drop: 0.1}
    - {metric: size, max: 1MB}
targets:
  - {device: cpu, precision: int8}
  - {device: cpu}
"""

FEATURES, HIDDEN, CLASSES = 16, 64, 4


def write_model(path: Path, seed: int = 0) -> None:
    """A two-layer classifier whose answers the data sets agree with."""
    random = np.random.default_rng(seed)
    weights = {
        "w1": random.normal(size=(FEATURES, HIDDEN)).astype(np.float32),
        "b1": random.normal(size=HIDDEN).astype(np.float32),
        "w2": random.normal(size=(HIDDEN, CLASSES)).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w1"], ["h0"], name="first"),
            helper.make_node("Add", ["h0", "b1"], ["h1"], name="bias"),
            helper.make_node("Relu", ["h1"], ["h2"], name="relu"),
            helper.make_node("MatMul", ["h2", "w2"], ["logits"], name="second"),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", FEATURES])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def write_data(folder: Path) -> None:
    """Test and calibration sets, labelled by the model itself."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(1)
    for name in ("test", "calibration"):
        x = random.normal(size=(64, FEATURES)).astype(np.float32)
        y = session.run(None, {"x": x})[0].argmax(axis=1)
        arrays = {"x": x, "y": y} if name == "test" else {"x": x}
        np.savez(folder / f"{name}.npz", **arrays)


class Project:
    """A folder with a spec, a cache of its own, and the command."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.cache = cache

    @property
    def spec(self) -> Path:
        return self.folder / "model.yaml"

    @property
    def dist(self) -> Path:
        return self.folder / "dist" / "tiny" / "1.0.0"

    def edit(self, old: str, new: str) -> None:
        """Replace a piece of the spec that is there once."""
        text = self.spec.read_text()
        assert text.count(old) == 1, old
        self.spec.write_text(text.replace(old, new))

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        """`modelspec <arguments>` in the folder."""
        command = [sys.executable, "-m", "modelspec", *arguments]
        environment = {**os.environ, "MODELSPEC_CACHE_DIR": str(self.cache), **(env or {})}
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300)

    def build(self, *arguments: str, exits: int = 0, env: Mapping[str, str] | None = None) -> str:
        """`modelspec build`; returns both streams."""
        done = self.run("build", *arguments, env=env)
        assert done.returncode == exits, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout + done.stderr

    def tree(self) -> dict[str, bytes]:
        """Every published file."""
        return {str(p.relative_to(self.dist)): p.read_bytes() for p in self.dist.rglob("*") if p.is_file()}


MakeProject = Callable[..., Project]


@pytest.fixture
def make_project(tmp_path: Path) -> MakeProject:
    """Make the tiny project in a folder of that name."""

    def make(name: str = "project", cache: str = "cache") -> Project:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        write_model(folder / "model.onnx")
        write_data(folder)
        (folder / "model.yaml").write_text(SPEC)
        return Project(folder, tmp_path / cache)

    return make


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    return make_project()


def deployed(project: Project, cache: Path, block: str) -> Project:
    """With one target, an image on a small base and `block`; `cache` is shared, so that packages are brought once."""
    from tests.oci import bases

    project.cache = cache
    project.edit("  - {device: cpu}\n", "")
    project.spec.write_text(project.spec.read_text() + block)
    bases.write(project.folder / "base")
    return project
