"""Weight-only quantization: matrices as blocks of 4- or 8-bit integers with a scale each, for ONNX Runtime's MatMulNBits.

Nothing is measured and nothing summed: minimum, maximum, division and rounding give the same bytes on every machine.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelspec.quantization import Weights

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto, TensorProto

    Array = NDArray[Any]

DOMAIN = "com.microsoft"
_FLOATS = (1, 10, 11, 16)
"""float, float16, double and bfloat16, as ONNX numbers them."""


@dataclass(frozen=True)
class Packed:
    """A matrix [K, N] as MatMulNBits takes it."""

    values: "Array"
    """[N, blocks, bytes of a block]; of two 4-bit integers in a byte, the first is the lower one."""
    scales: "Array"
    """[N, blocks]"""
    zeros: "Array | None"
    """[N, bytes]: the integer that stands for 0; without it, the middle of the range."""


def pack(matrix: "Array", bits: int, block: int, *, symmetric: bool) -> Packed:
    """Each column in blocks, the last filled with zeros; a value is (integer - zero) * scale."""
    import numpy as np

    rows, columns = matrix.shape
    count = -(-rows // block)
    filled = np.zeros((columns, count * block), np.float32)
    filled[:, :rows] = matrix.T
    blocks = filled.reshape(columns, count, block)
    low, high = (np.minimum(blocks.min(axis=2), 0), np.maximum(blocks.max(axis=2), 0))
    largest, middle = np.float32(2**bits - 1), np.float32(2 ** (bits - 1))
    if symmetric:
        # The end that reaches farther takes the one step that the negative side has more.
        scales = np.where(high > -low, high, low) / -middle
        zeros = np.full_like(scales, middle)
    else:
        scales = (high - low) / largest
        zeros = np.rint(-low / np.where(scales == 0, np.float32(1), scales))
    steps = blocks / np.where(scales == 0, np.float32(1), scales)[:, :, None]
    integers = np.clip(np.rint(steps + zeros[:, :, None]), 0, largest).astype(np.uint8)
    return Packed(
        _packed(integers, bits), scales.astype(np.float32), None if symmetric else _packed(zeros.astype(np.uint8), bits)
    )


def _packed(integers: "Array", bits: int) -> "Array":
    """Two 4-bit integers of the last axis in one byte; 8-bit ones as they are."""
    import numpy as np

    if bits == 8:
        return integers
    if integers.shape[-1] % 2:
        integers = np.concatenate([integers, np.zeros_like(integers[..., :1])], axis=-1)
    return np.ascontiguousarray(integers[..., ::2] | integers[..., 1::2] << 4)


class WeightQuantizer:
    """A model whose matrix products can take packed weights: all of them, or only some."""

    def __init__(self, model: "ModelProto", method: Weights, bits: int) -> None:
        import onnx

        self._model, self._method, self._bits = model, method, bits
        self._weights = {
            tensor.name: tensor
            for tensor in model.graph.initializer
            if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2
        }

    def nodes(self, excluded: Collection[str] = ()) -> list[str]:
        """The named nodes that can be quantized, but for those excluded."""
        return [n.name for n in self._model.graph.node if n.name and n.name not in excluded and self._fits(n)]

    def left(self, excluded: Collection[str] = ()) -> "tuple[Counter[str], float]":
        """What holds float weights and cannot take packed ones: nodes by kind, and the share of all bytes that they hold."""
        from modelspec.formats.onnx_parts import graphs

        tensors = [tensor for graph in graphs(self._model) for tensor in graph.initializer if len(tensor.dims) > 1]
        sizes = {tensor.name: tensor.ByteSize() for tensor in tensors if tensor.data_type in _FLOATS}
        kinds: Counter[str] = Counter()
        held: set[str] = set()
        for node in (node for graph in graphs(self._model) for node in graph.node):
            if not self._fits(node) and node.name not in excluded and (read := sizes.keys() & set(node.input)):
                kinds[node.op_type] += 1
                held |= read
        return kinds, sum(sizes[name] for name in held) / (sum(sizes.values()) or 1)

    def quantized(self, excluded: Collection[str] = (), only: Collection[str] = ()) -> "ModelProto":
        """The model with all nodes but the excluded ones quantized, or only those named."""
        import onnx

        made = onnx.ModelProto()
        made.CopyFrom(self._model)
        graph, nodes = made.graph, list(made.graph.node)
        packed: dict[tuple[str, bool, float], list[str]] = {}
        del graph.node[:]
        for node in nodes:
            chosen = node.name in only if only else node.name not in excluded
            if chosen and self._fits(node):
                graph.node.extend(self._replaced(node, graph, packed))
            else:
                graph.node.append(node)
        _drop_unread(made, {name for name, *_ in packed})
        if packed and DOMAIN not in {entry.domain for entry in made.opset_import}:
            made.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
        return made

    def _fits(self, node: "NodeProto") -> bool:
        if node.domain not in {"", "ai.onnx"} or len(node.input) < 2 or node.input[1] not in self._weights:
            return False
        return node.op_type == "MatMul" or (node.op_type == "Gemm" and not _attribute(node, "transA", 0))

    def _replaced(
        self, node: "NodeProto", graph: Any, packed: dict[tuple[str, bool, float], list[str]]
    ) -> "list[NodeProto]":
        """The node over packed weights; of a Gemm, its scaled bias after it."""
        from onnx import helper, numpy_helper

        gemm = node.op_type == "Gemm"
        turned, alpha = bool(gemm and _attribute(node, "transB", 0)), _attribute(node, "alpha", 1.0) if gemm else 1.0
        weight = self._weights[node.input[1]]
        key = (weight.name, turned, alpha)
        if key not in packed:
            packed[key] = self._store(graph, weight, len(packed), turned=turned, alpha=alpha)
        rows, columns = reversed(weight.dims) if turned else weight.dims
        biased = gemm and len(node.input) > 2 and bool(node.input[2]) and _attribute(node, "beta", 1.0) != 0
        product = f"{node.output[0]}_product" if biased else node.output[0]
        made = [
            helper.make_node(
                "MatMulNBits", [node.input[0], *packed[key]], [product], name=node.name, domain=DOMAIN,
                K=rows, N=columns, bits=self._bits, block_size=self._method.block_size, **self._compute(),
            )
        ]  # fmt: skip
        if biased:
            bias, beta = node.input[2], _attribute(node, "beta", 1.0)
            if beta != 1.0:
                factor = numpy_helper.from_array(_scalar(beta), f"{product}_beta")
                graph.initializer.append(factor)
                made.append(helper.make_node("Mul", [bias, factor.name], [f"{product}_bias"], name=f"{node.name}_beta"))
                bias = f"{product}_bias"
            made.append(helper.make_node("Add", [product, bias], [node.output[0]], name=f"{node.name}_bias"))
        return made

    def _compute(self) -> dict[str, Any]:
        """How exact the arithmetic must be, in the runtime's scale; without it, as exact as the type of the activations."""
        return {"accuracy_level": 4} if self._method.activations == "int8" else {}

    def _store(self, graph: Any, weight: "TensorProto", index: int, *, turned: bool, alpha: float) -> list[str]:
        """Add the packed weight to the graph; returns the names of its parts."""
        import numpy as np
        from onnx import numpy_helper

        matrix = numpy_helper.to_array(weight)
        matrix = (matrix.T if turned else matrix) * np.float32(alpha)
        made = pack(matrix, self._bits, self._method.block_size, symmetric=self._method.symmetric)
        parts = {"packed": made.values, "scales": made.scales} | ({} if made.zeros is None else {"zeros": made.zeros})
        named = {f"{weight.name}_{part}_{index}": array for part, array in parts.items()}
        graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in named.items())
        return list(named)


def _scalar(value: float) -> "Array":
    import numpy as np

    return np.array(value, np.float32)


def _attribute(node: "NodeProto", name: str, default: Any) -> Any:
    from onnx import helper

    found = next((attribute for attribute in node.attribute if attribute.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def _drop_unread(model: "ModelProto", names: Collection[str]) -> None:
    """Remove the float weights that nothing reads any more; graphs inside may read them, and an output may be one."""
    from modelspec.formats.onnx_parts import graphs

    read = {name for graph in graphs(model) for node in graph.node for name in node.input}
    read |= {value.name for graph in graphs(model) for value in graph.output}
    gone = set(names) - read
    fields: list[Any] = [model.graph.initializer, model.graph.input, model.graph.value_info]
    for field in fields:
        kept = [part for part in field if part.name not in gone]
        del field[:]
        field.extend(kept)
