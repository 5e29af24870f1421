"""Small networks with a layer that integers ruin, and the command run as a user runs it."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.build.conftest import Project

SPEC = """\
apiVersion: modelspec/v1
name: tiny
version: "1.0.0"
source: {framework: onnx, artifact: model.onnx}
data:
  validation: {path: validation.npz, labels: y}
  test: {path: test.npz, labels: y}

quantize:
  int8:
    method: dynamic      # as the documentation says

evaluate:
  data: test
  metrics: [accuracy]
  gates:
    - {metric: accuracy, max_drop: 0.05}   # agreed with the users
targets:
  - {device: cpu, precision: int8}
"""

WIDTHS = (16, 64, 48, 32, 4)
OUTLIER, FACTOR = 2, 3000.0


def write_network(path: Path, *, outlier: bool) -> None:
    """Four layers, all but the last with a Relu. With `outlier`, one input of the third layer has values thousands of times
    those of the others, and weights as many times smaller: the function is the same, and no 8-bit scale fits them all."""
    random = np.random.default_rng(0)
    weights = [
        random.normal(size=shape).astype(np.float32) / np.float32(np.sqrt(shape[0])) for shape in pairwise(WIDTHS)
    ]
    if outlier:
        weights[OUTLIER - 1][:, 0] *= FACTOR
        weights[OUTLIER][0, :] /= FACTOR
    nodes, last = [], len(weights) - 1
    for index in range(len(weights)):
        out = "logits" if index == last else f"m{index}"
        nodes.append(helper.make_node("MatMul", [f"h{index}", f"w{index}"], [out], name=f"/layer{index}/MatMul"))
        if index < last:
            nodes.append(helper.make_node("Relu", [out], [f"h{index + 1}"], name=f"/layer{index}/Relu"))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("h0", TensorProto.FLOAT, ["batch", WIDTHS[0]])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", WIDTHS[-1]])],
        [numpy_helper.from_array(value, f"w{index}") for index, value in enumerate(weights)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def write_data(folder: Path) -> None:
    """Sets of their own for calibration, for the search and for the gates, labelled by the model itself."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(1)
    for name in ("calibration", "validation", "test"):
        x = random.normal(size=(200, WIDTHS[0])).astype(np.float32)
        y = session.run(None, {"h0": x})[0].argmax(axis=1)
        np.savez(folder / f"{name}.npz", **({"h0": x} if name == "calibration" else {"h0": x, "y": y}))


MakeTiny = Callable[..., Project]


@pytest.fixture
def make_tiny(tmp_path: Path) -> MakeTiny:
    """`make_tiny(tune, outlier=...)`: the project with the block `tune`."""

    def make(tune: str, *, outlier: bool = False) -> Project:
        folder = tmp_path / "project"
        folder.mkdir()
        write_network(folder / "model.onnx", outlier=outlier)
        write_data(folder)
        (folder / "model.yaml").write_text(SPEC + tune)
        return Project(folder, tmp_path / "cache")

    return make
