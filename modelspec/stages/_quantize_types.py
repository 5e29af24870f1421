"""The types of a prepared graph, node by node, against what was asked: found by ONNX's own inference, not by what wrote it."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from modelspec.stages._quantize_casts import FLOAT, TYPES

if TYPE_CHECKING:
    from onnx import ModelProto

FREE = frozenset({"Cast", "DequantizeLinear", "QuantizeLinear"})
"""They stand where two types meet."""


def left_in_float(model: "ModelProto", precision: str, kept: Collection[str]) -> list[tuple[str, str]]:
    """The nodes that make float32 and are not among the `kept`, or whose type cannot be told; with what was found."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=False, data_prop=False)
    types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.graph.value_info, *inferred.graph.output)}
    found = []
    for node in inferred.graph.node:
        if node.op_type in FREE or node.name in kept:
            continue
        made = [types.get(name, 0) for name in node.output if name]
        if FLOAT in made:
            found.append((node.name, f"{node.op_type} makes float32"))
        elif any(kind in {1, *TYPES.values()} and kind not in {TYPES[precision], FLOAT} for kind in made):
            found.append((node.name, f"{node.op_type} makes another float type"))
        elif 0 in made and node.domain not in {"", "ai.onnx"}:
            found.append((node.name, f"{node.op_type} makes a type that cannot be told"))
    return found
