"""bfloat16 on the CPU, where ONNX Runtime has hardly an operator of it: computed in float32, and rounded after each node."""

from pathlib import Path
from typing import TYPE_CHECKING

from modelspec.formats import onnx_model
from modelspec.formats.onnx_session import OnnxSession, open_session

if TYPE_CHECKING:
    from onnx import ModelProto

FLOAT, BFLOAT16 = 1, 16
"""As ONNX numbers them."""


def open_rounded(path: Path, threads: int = 1) -> OnnxSession:
    """A session on the CPU of a model that may hold bfloat16; of any other, the usual one."""
    model = onnx_model.read(path)
    if not _holds(model):
        return open_session(path, optimize="all", threads=threads)
    _emulate(model)
    # Nothing is optimized: two casts in a row are the rounding, and an optimizer takes them for nothing.
    return open_session(model.SerializeToString(), threads=threads)


def _holds(model: "ModelProto") -> bool:
    casts = (a.i for node in model.graph.node if node.op_type == "Cast" for a in node.attribute)
    return BFLOAT16 in casts or any(tensor.data_type == BFLOAT16 for tensor in model.graph.initializer)


def _emulate(model: "ModelProto") -> None:
    """In place: each tensor of bfloat16 becomes one of float32 with the same numbers."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    inferred = onnx.shape_inference.infer_shapes(model)
    rounded = {v.name for v in inferred.graph.value_info if v.type.tensor_type.elem_type == BFLOAT16}
    for tensor in model.graph.initializer:
        if tensor.data_type == BFLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    nodes = list(model.graph.node)
    del model.graph.node[:], model.graph.value_info[:]
    for node in nodes:
        for attribute in node.attribute:
            if attribute.name in {"to", "dtype"} and attribute.i == BFLOAT16:
                attribute.i = FLOAT
            elif attribute.HasField("t") and attribute.t.data_type == BFLOAT16:
                attribute.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(attribute.t).astype(np.float32)))
        made = [name for name in node.output if name in rounded]
        node.output[:] = [f"{name}_exact" if name in rounded else name for name in node.output]
        model.graph.node.append(node)
        for name in made:
            model.graph.node.append(helper.make_node("Cast", [f"{name}_exact"], [f"{name}_short"], to=BFLOAT16))
            model.graph.node.append(helper.make_node("Cast", [f"{name}_short"], [name], to=FLOAT))
