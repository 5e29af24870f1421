"""What size costs: a build with nothing to do of a model beyond 2 GiB, and the memory that hashing and copying take.

python -m benchmarks.large    (needs 20 GB of disk and some minutes: the model is built once)
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.measure import MODELSPEC, Row, medians, run, show

WIDTH = 8192
LAYERS = {"small": 0, "large": 9}
"""Layers of 256 MiB of weights each, besides one of 32 KiB."""

SPEC = """\
apiVersion: modelspec/v1
name: {name}
version: "1.0.0"
source: {{framework: onnx, artifact: model}}
targets: [{{device: cpu}}]
"""

COPY = """\
import json, resource, sys
from pathlib import Path
from modelspec.store.files import seal
from modelspec.store.record import Output, Record
from modelspec.store.store import Store
folder = Path(sys.argv[1])
store = Store(folder / "cache")
made = store.open_session() / "made"
(made / "model").mkdir(parents=True)
(folder / "file").rename(made / "model" / "file")
output = Output("model/file", *seal(made / "model" / "file"))
store.commit(Record("0" * 64, {"stage": "benchmark"}, (output,), "exact", 0.0), made)
store.take(output.sha256, folder / "copy")
store.close_session()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def project(folder: Path, name: str) -> Path:
    """A chain of matrix products, its weights beside the model."""
    random = np.random.default_rng(0)
    last = "x"
    nodes, weights = [], []
    for index in range(LAYERS[name]):
        weight = random.standard_normal((WIDTH, WIDTH), dtype=np.float32) / np.float32(WIDTH**0.5)
        weights.append(numpy_helper.from_array(weight, f"w{index}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{index}"], [last := f"h{index}"]))
    weights.append(numpy_helper.from_array(random.standard_normal(WIDTH, dtype=np.float32), "bias"))
    nodes.append(helper.make_node("Add", [last, "bias"], ["y"]))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WIDTH]) for name in "xy")
    graph = helper.make_graph(nodes, "chain", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (folder / "model").mkdir(parents=True)
    onnx.save_model(model, str(folder / "model" / "model.onnx"), save_as_external_data=True, location="model.data")
    (folder / "model.yaml").write_text(SPEC.format(name=name))
    return folder


def no_op(runs: int) -> Row:
    """Each is built once, and then again and again."""
    with tempfile.TemporaryDirectory() as root:
        commands = {}
        for name in LAYERS:
            folder = project(Path(root, name), name)
            commands[name] = [MODELSPEC, "build", "-f", str(folder / "model.yaml"), "-o", str(folder / "dist")]
            env = {"MODELSPEC_CACHE_DIR": str(Path(root, "cache"))}
            run(commands[name], env)
            run(commands[name], env)  # what was too fresh to be trusted the first time is hashed once more
        found = medians({name: lambda c=c: run(c, env) for name, c in commands.items()}, runs)  # type: ignore[misc]
        return Row("nothing to do, model of 2.4 GB", "nothing to do, small model", found["large"], found["small"], 2.0)


def memory() -> Row:
    """Peak memory of a process that seals, commits and takes out one file."""
    peaks = {}
    for size in (64 << 20, 2 << 30):
        with tempfile.TemporaryDirectory() as folder:
            with Path(folder, "file").open("wb") as file:
                file.writelines(os.urandom(1 << 20) for _ in range(size >> 20))
            done = subprocess.run([sys.executable, "-c", COPY, folder], capture_output=True, text=True, check=True)
            peaks[size] = json.loads(done.stdout) / 1e6
    large, small = peaks[2 << 30], peaks[64 << 20]
    return Row("peak memory, file of 2 GB", "file of 64 MB", large, small, 1.2, "GB")


def rows(runs: int = 5) -> list[Row]:
    """Both."""
    return [memory(), no_op(runs)]


if __name__ == "__main__":
    show(rows())
