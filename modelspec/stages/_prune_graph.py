"""Prunes an ONNX file: batch normalization is folded into the convolution before it first, or its scale would hide which
weights count."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelspec.stages._prune_options import Magnitude, TwoFour
from modelspec.stages._prune_report import Layer, Report
from modelspec.stages._prune_sparse import Weight, sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

    Array = NDArray[Any]

_WEIGHT = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
"""Operations with weights, and which input holds them."""


def prune(source: Path, method: Magnitude | TwoFour, folder: Path) -> Report:
    """Write the pruned model to `folder`."""
    from onnx import numpy_helper

    from modelspec.formats import onnx_model

    model = onnx_model.read(source)
    fold(model)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = _weights(model)
    made = sparse([item.weight for item in weights], method)
    for name, values in made.values.items():
        tensors[name].CopyFrom(numpy_helper.from_array(values, name))
    onnx_model.write(model, folder / "model.onnx")
    flops = _flops(model, weights)
    layers = []
    for item in weights:
        weight = item.weight
        after = made.values.get(weight.name, weight.values)
        zeros = int((after == 0).sum()) if weight.name in made.values else 0
        counts = (weight.values.size, weight.values.size - zeros)
        total = flops.get(weight.layer, 0)
        spent = (total, round(total * counts[1] / counts[0]))
        shape = list(weight.values.shape)
        layers.append(Layer(weight.layer, [shape, shape], counts, spent, made.kept.get(weight.layer, "")))
    named = {item.weight.name for item in weights}
    others = sum(math.prod(t.dims) for t in tensors.values() if t.name not in named and t.data_type in _FLOATS)
    return Report(layers, (others, others))


_FLOATS = (1, 10, 11, 16)
"""The element types of ONNX that are floating point: float, float16, double, bfloat16."""


@dataclass(frozen=True)
class _Item:
    weight: Weight
    node: "NodeProto"


def _weights(model: "ModelProto") -> list[_Item]:
    """Constant weights, each with the first node that uses it."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    found: dict[str, _Item] = {}
    for node in model.graph.node:
        index = _WEIGHT.get(node.op_type)
        name = node.input[index] if index is not None and len(node.input) > index else ""
        tensor = tensors.get(name)
        if tensor is None or name in found or tensor.data_type not in _FLOATS or len(tensor.dims) < 2:
            continue
        weight = Weight(name, node.name or node.output[0], numpy_helper.to_array(tensor), _inner(node))
        found[name] = _Item(weight, node)
    return list(found.values())


def _inner(node: "NodeProto") -> int | None:
    """The axis over which products are summed."""
    if node.op_type == "ConvTranspose":
        return None
    if node.op_type == "Gemm":
        return 1 if any(a.name == "transB" and a.i for a in node.attribute) else 0
    return 1 if node.op_type == "Conv" else -2


def fold(model: "ModelProto") -> None:
    """Fold each batch normalization that alone takes what a convolution with constant weights gives."""
    import numpy as np
    from onnx import numpy_helper

    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input) + Counter(v.name for v in graph.output)
    makers = {node.output[0]: node for node in graph.node}
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        conv = makers.get(norm.input[0])
        constants = [*(conv.input[1:] if conv else ()), *norm.input[1:]]
        if conv is None or conv.op_type != "Conv" or uses[norm.input[0]] != 1 or not set(constants) <= set(tensors):
            continue
        if uses[conv.input[1]] != 1 or any(
            attribute.name == "training_mode" and attribute.i for attribute in norm.attribute
        ):
            continue
        scale, shift, mean, variance = (numpy_helper.to_array(tensors[name]) for name in norm.input[1:5])
        epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        weight = numpy_helper.to_array(tensors[conv.input[1]])
        bias = numpy_helper.to_array(tensors[conv.input[2]]) if len(conv.input) > 2 else np.zeros_like(mean)
        folded = (weight * factor.reshape(-1, *[1] * (weight.ndim - 1))).astype(weight.dtype)
        tensors[conv.input[1]].CopyFrom(numpy_helper.from_array(folded, conv.input[1]))
        name = f"{norm.output[0]}_bias"
        graph.initializer.append(numpy_helper.from_array(((bias - mean) * factor + shift).astype(weight.dtype), name))
        tensors[name] = graph.initializer[-1]
        del conv.input[2:]
        conv.input.append(name)
        conv.output[0] = norm.output[0]
        makers[norm.output[0]] = conv
        graph.node.remove(norm)
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _flops(model: "ModelProto", weights: list[_Item]) -> dict[str, int]:
    """Multiplications and additions for one sample by layer, where the shapes tell; dynamic axes count as one."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        for dimension in value.type.tensor_type.shape.dim:
            if not dimension.HasField("dim_value"):
                dimension.dim_value = 1
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(copy).graph
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*inferred.value_info, *inferred.output)
    }
    found: dict[str, int] = {}
    for item in weights:
        shape = shapes.get(item.node.output[0])
        if shape:
            values = item.weight.values
            summed = values[0].size if item.node.op_type == "Conv" else values.shape[item.weight.inner or 0]
            found[item.weight.layer] = 2 * math.prod(shape) * summed
    return found
