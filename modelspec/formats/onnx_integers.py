"""8-bit products in a model, and whether an x86-64 CPU without VNNI adds them right.

There, with AVX2, ONNX Runtime multiplies bytes with `vpmaddubsw`, which adds each two products in 16 bits and clips the sum:
2 * 255 * 127 is more than 32,767, 2 * 255 * 64 is not. With VNNI, and with neither, sums have 32 bits.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

SAFE = 64
"""The largest size of a weight of which no sum saturates."""
_PRODUCTS = {
    "Conv", "ConvTranspose", "Gemm", "MatMul", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "QAttention", "QGemm",
    "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "QLinearConv", "QLinearMatMul", "QOrderedMatMul",
}  # fmt: skip


def may_saturate(model: "ModelProto") -> bool:
    """Whether a product takes signed 8-bit weights of more than 7 bits."""
    import numpy as np
    from onnx import TensorProto, numpy_helper

    from modelspec.formats.onnx_parts import graphs

    found = list(graphs(model))
    tensors = (tensor for graph in found for tensor in graph.initializer if len(tensor.dims) > 1)
    weights = {tensor.name: tensor for tensor in tensors if tensor.data_type == TensorProto.INT8}
    nodes = [node for graph in found for node in graph.node]
    floats = {node.output[0]: node.input[0] for node in nodes if node.op_type == "DequantizeLinear"}
    read = {floats.get(name, name) for node in nodes if node.op_type in _PRODUCTS for name in node.input}
    arrays = (numpy_helper.to_array(weights[name]) for name in sorted(read & weights.keys()))
    return any(np.abs(array.astype(np.int16)).max(initial=0) > SAFE for array in arrays)
