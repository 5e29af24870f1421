"""Small ONNX models with seeded weights, as the stages meet them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from modelspec.formats import npz
from modelspec.formats.onnx_session import open_session

Array = np.ndarray[Any, Any]


def save(folder: Path, nodes: list[NodeProto], weights: dict[str, Array], inputs: dict[str, tuple[Any, ...]],
         outputs: dict[str, tuple[Any, ...]], *, dtype: int = TensorProto.FLOAT, domain: str = "") -> Path:  # fmt: skip
    """Write model.onnx below `folder`/model; inputs and outputs are name -> shape."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 3)] if domain else [])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    target = folder / "model"
    target.mkdir(parents=True, exist_ok=True)
    onnx.save(model, target / "model.onnx")
    return target


def weights(*shapes: tuple[int, ...], seed: int = 0) -> list[Array]:
    """Float32 weights of about the size that training gives."""
    random = np.random.default_rng(seed)
    return [(random.normal(size=shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32) for shape in shapes]


def mlp(folder: Path) -> Path:
    """x [batch, 32] -> logits [batch, 8]: two matrix products."""
    w1, w2 = weights((32, 64), (64, 8))
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("MatMul", ["b", "w2"], ["logits"], name="second"),
    ]
    return save(folder, nodes, {"w1": w1, "w2": w2}, {"x": ("batch", 32)}, {"logits": ("batch", 8)})


def planted(folder: Path) -> Path:
    """x [batch, 32] -> logits [batch, 8]: of three layers, `middle` has weights of no use that leave the others no steps."""
    w1, w2, w3 = weights((32, 64), (64, 64), (64, 8))
    w1[:, 5], w2[5] = 0.0, 40.0
    node = helper.make_node
    nodes = [
        node("MatMul", ["x", "w1"], ["a"], name="first"),
        node("Tanh", ["a"], ["b"], name="tanh1"),
        node("MatMul", ["b", "w2"], ["c"], name="middle"),
        node("Tanh", ["c"], ["d"], name="tanh2"),
        node("MatMul", ["d", "w3"], ["logits"], name="last"),
    ]
    values = {"w1": w1, "w2": w2, "w3": w3}
    return save(folder, nodes, values, {"x": ("batch", 32)}, {"logits": ("batch", 8)})


def biased(folder: Path) -> Path:
    """x [batch, 32] -> logits [batch, 8]: a matrix product and a sum, which the runtime joins, then another product."""
    w1, w2 = weights((32, 64), (64, 8))
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"], name="first"),
        helper.make_node("Add", ["a", "b1"], ["b"], name="bias"),
        helper.make_node("MatMul", ["b", "w2"], ["logits"], name="second"),
    ]
    values = {"w1": w1, "b1": np.ones(64, np.float32), "w2": w2}
    return save(folder, nodes, values, {"x": ("batch", 32)}, {"logits": ("batch", 8)})


def rows(folder: Path) -> Path:
    """x [batch, 32] -> logits [batch, 8]: a Gemm whose bias is a row, as in networks of scikit-learn."""
    w1, b1 = weights((32, 8), (1, 8))
    return save(folder, [helper.make_node("Gemm", ["x", "w1", "b1"], ["logits"], name="head")], {"w1": w1, "b1": b1},
                {"x": ("batch", 32)}, {"logits": ("batch", 8)})  # fmt: skip


def conv(folder: Path) -> Path:
    """x [batch, 1, 8, 8] -> logits [batch, 4]: convolution, batch normalization, pool, linear."""
    w1, w2 = weights((16, 1, 3, 3), (16, 4))
    ones, zeros = np.ones(16, np.float32), np.zeros(16, np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "scale", "bias", "mean", "var"], ["b"], name="norm"),
        helper.make_node("Relu", ["b"], ["c"], name="relu"),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], name="pool"),
        helper.make_node("Flatten", ["d"], ["e"], name="flat"),
        helper.make_node("Gemm", ["e", "w2"], ["logits"], name="head"),
    ]
    values = {"w1": w1, "w2": w2, "scale": ones * 1.5, "bias": zeros + 0.1, "mean": zeros + 0.2, "var": ones * 2}
    return save(folder, nodes, values, {"x": ("batch", 1, 8, 8)}, {"logits": ("batch", 4)})


def attention(folder: Path) -> Path:
    """x [batch, time, 16] -> y of that shape: one block of a transformer."""
    names = ("q", "k", "v", "o", "f1", "f2")
    values = dict(zip(names, weights(*[(16, 16)] * 6), strict=True))
    values |= {"scale": np.ones(16, np.float32), "bias": np.zeros(16, np.float32)}
    node = helper.make_node
    nodes = [
        *(node("MatMul", ["x", name], [f"{name}x"], name=name) for name in ("q", "k", "v")),
        node("Transpose", ["kx"], ["kt"], name="turn", perm=[0, 2, 1]),
        node("MatMul", ["qx", "kt"], ["scores"], name="scores"),
        node("Softmax", ["scores"], ["share"], name="softmax"),
        node("MatMul", ["share", "vx"], ["mixed"], name="mix"),
        node("MatMul", ["mixed", "o"], ["out"], name="o"),
        node("LayerNormalization", ["out", "scale", "bias"], ["n1"], name="norm1"),
        node("MatMul", ["n1", "f1"], ["h"], name="f1"),
        node("Relu", ["h"], ["r"], name="relu"),
        node("MatMul", ["r", "f2"], ["z"], name="f2"),
        node("LayerNormalization", ["z", "scale", "bias"], ["y"], name="norm2"),
    ]
    return save(folder, nodes, values, {"x": ("batch", "time", 16)}, {"y": ("batch", "time", 16)})


def elementwise(folder: Path) -> Path:
    """x -> y without a weight."""
    nodes = [helper.make_node("Relu", ["x"], ["a"], name="relu"), helper.make_node("Sqrt", ["a"], ["y"], name="root")]
    return save(folder, nodes, {}, {"x": ("batch", 4)}, {"y": ("batch", 4)})


def made_of(model: Path, folder: Path, shape: tuple[int, ...]) -> dict[str, Path]:
    """The inputs of the later stages: the model, its signature, samples with the model's own answers."""
    from modelspec.formats import onnx_model

    signature, samples = folder / "signature", folder / "samples"
    for made in (signature, samples):
        made.mkdir(parents=True)

    said = onnx_model.signature_of(onnx_model.read(model / "model.onnx")).as_lists()
    (signature / "signature.json").write_text(json.dumps(said))
    inputs = {"x": np.random.default_rng(1).normal(size=shape).astype(np.float32)}
    npz.write(samples / "inputs.npz", inputs)
    npz.write(samples / "outputs.npz", open_session(model / "model.onnx").run(inputs))
    return {"model": model, "signature": signature, "samples": samples}


def data(folder: Path, labels: str | None = None, **arrays: Array) -> Path:
    """A data set as the load stage writes it."""

    folder.mkdir(parents=True)
    npz.write(folder / "data.npz", arrays)
    rows = len(next(iter(arrays.values())))
    (folder / "data.json").write_text(json.dumps({"labels": labels, "rows": rows}))
    return folder


Graph = Callable[[Path], Path]
