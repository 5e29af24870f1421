"""Rewrites a float32 graph so that chosen nodes compute in another float type: casts where the two meet, and nowhere else."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from modelspec.stages._quantize_spread import STANDS_FOR_INFINITY

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

FLOAT = 1
"""float32, as ONNX numbers it."""
TYPES = {"fp16": 10, "bf16": 16}
LARGEST = {"fp16": 65504.0, "bf16": 3.3895e38}
SMALLEST = {"fp16": 2.0**-25, "bf16": 2.0**-134}
"""What is smaller becomes zero."""


def plain(model: "ModelProto") -> "ModelProto":
    """The model without functions, with its constants among the initializers, and with a name for each node."""
    import onnx
    from onnx import inliner, numpy_helper

    made = inliner.inline_local_functions(model) if model.functions else onnx.ModelProto()
    if not model.functions:
        made.CopyFrom(model)
    nodes = list(made.graph.node)
    del made.graph.node[:]
    for node in nodes:
        value = _constant(node)
        if value is None:
            made.graph.node.append(node)
        else:
            made.graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
    for index, node in enumerate(made.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    return made


def _constant(node: "NodeProto") -> "NDArray[Any] | None":
    import numpy as np
    from onnx import numpy_helper

    if node.op_type != "Constant" or len(node.attribute) != 1:
        return None
    attribute = node.attribute[0]
    if attribute.name == "value":
        return numpy_helper.to_array(attribute.t)
    scalars = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    if (kind := scalars.get(attribute.name)) is None:
        return None
    held = {"value_float": attribute.f, "value_floats": attribute.floats,
            "value_int": attribute.i, "value_ints": attribute.ints}[attribute.name]  # fmt: skip
    return np.array(held, kind)


def formal(node: "NodeProto", opset: int, index: int, *, output: bool = False) -> "tuple[str, frozenset[str]]":
    """The name of the type of an argument, and all types it may have; none for an operator that ONNX does not know."""
    from onnx import defs

    try:
        schema = defs.get_schema(node.op_type, opset, node.domain)
    except defs.SchemaError:
        return "", frozenset()
    arguments = schema.outputs if output else schema.inputs
    one = arguments[min(index, len(arguments) - 1)]
    return one.type_str, frozenset(one.types)


class Casts:
    """One rewriting: `low` holds the indices of the nodes that are to compute in the other type."""

    def __init__(self, model: "ModelProto", floats: Collection[str], low: Collection[int], precision: str) -> None:
        from modelspec.formats.onnx_model import opset

        self._model, self._floats, self._low = model, set(floats), set(low)
        self._precision, self._type, self._opset = precision, TYPES[precision], opset(model)
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._pinned = {value.name for value in model.graph.output} | _read_inside(model)
        self._native: dict[str, str] = {}
        """Tensors that are made in the other type, with the name they have there."""
        self._nodes: list[NodeProto] = []
        self._copies: dict[str, str] = {}

    def made(self) -> "ModelProto":
        """The rewritten model. Inputs and outputs keep their types."""
        graph = self._model.graph
        for index, node in enumerate(list(graph.node)):
            if index in self._low:
                self._lower(node)
            else:
                for name in node.input:
                    self._as_float(name)
                self._nodes.append(node)
        for name in sorted(self._pinned):
            self._as_float(name)
        del graph.node[:], graph.value_info[:]
        graph.node.extend(_sorted(self._nodes))
        self._drop_unread()
        return self._model

    def _lower(self, node: "NodeProto") -> None:
        wanted = f"tensor({'float16' if self._precision == 'fp16' else 'bfloat16'})"
        for index, name in enumerate(node.input):
            if name in self._floats:
                _, types = formal(node, self._opset, index)
                if wanted in types and "tensor(float)" in types:
                    node.input[index] = self._as_low(name)
                else:
                    self._as_float(name)
        self._set_attributes(node)
        for index, name in enumerate(node.output):
            if name in self._floats and wanted in formal(node, self._opset, index, output=True)[1]:
                self._native[name] = f"{name}_{self._precision}" if name in self._pinned else name
                node.output[index] = self._native[name]
        self._nodes.append(node)

    def _set_attributes(self, node: "NodeProto") -> None:
        """Types that a node says by an attribute."""
        for attribute in node.attribute:
            if attribute.name in {"to", "dtype"} and attribute.i == FLOAT:
                attribute.i = self._type
            elif node.op_type == "ConstantOfShape" and attribute.name == "value" and attribute.t.data_type == FLOAT:
                attribute.t.CopyFrom(self._converted(attribute.t))

    def _as_low(self, name: str) -> str:
        if name in self._native:
            return self._native[name]
        low = f"{name}_{self._precision}"
        if low not in self._copies:
            self._copies[low] = name
            if name in self._weights:
                tensor = self._converted(self._weights[name])
                tensor.name = low
                self._model.graph.initializer.append(tensor)
            else:
                self._cast(name, low, self._type)
        return low

    def _as_float(self, name: str) -> None:
        """See to it that the tensor is there in float32 under its own name."""
        native = self._native.get(name)
        if native is None or name in self._copies:
            return
        if native == name:  # made in the other type under this name: give that one another
            self._rename(name)
        self._copies[name] = name
        self._cast(self._native[name], name, FLOAT)

    def _rename(self, name: str) -> None:
        low = f"{name}_{self._precision}"
        for node in self._nodes:
            for names in (node.output, node.input):
                for index, found in enumerate(names):
                    if found == name:
                        names[index] = low
        self._native[name] = low

    def _cast(self, source: str, target: str, kind: int) -> None:
        from onnx import helper

        self._nodes.append(helper.make_node("Cast", [source], [target], name=f"{target}_cast", to=kind))

    def _converted(self, tensor: Any) -> Any:
        """The tensor in the other type. What stands for infinity becomes the largest number."""
        import ml_dtypes
        import numpy as np
        from onnx import numpy_helper

        array, largest = numpy_helper.to_array(tensor), np.float32(LARGEST[self._precision])
        far = np.isfinite(array) & (np.abs(array) >= min(STANDS_FOR_INFINITY, float(largest)))
        array = np.where(far, np.sign(array) * largest, array)
        kind = np.float16 if self._precision == "fp16" else ml_dtypes.bfloat16
        return numpy_helper.from_array(array.astype(kind), tensor.name)

    def _drop_unread(self) -> None:
        graph = self._model.graph
        read = {name for node in graph.node for name in node.input} | self._pinned
        kept = [tensor for tensor in graph.initializer if tensor.name in read]
        del graph.initializer[:]
        graph.initializer.extend(kept)


def _read_inside(model: "ModelProto") -> set[str]:
    """What graphs inside the graph may read of it."""
    return {name for node in model.graph.node for name in _reads(node) if name not in node.input}


def _reads(node: "NodeProto") -> set[str]:
    """What a node reads, and what stands in the graphs that it holds."""
    from modelspec.formats.onnx_parts import subgraphs

    found = set(node.input)
    for graph in (graph for attribute in node.attribute for graph in subgraphs(attribute)):
        found |= {value.name for value in graph.output}.union(*(_reads(inner) for inner in graph.node))
    return found


def _sorted(nodes: "list[NodeProto]") -> "list[NodeProto]":
    """Each node after those it reads: a cast that a later node asked for may stand behind it."""
    makers = {name: node for node in nodes for name in node.output if name}
    done: set[int] = set()
    ordered: list[NodeProto] = []
    for first in nodes:
        waiting = [first]
        while waiting:
            node = waiting[-1]
            if id(node) in done:
                waiting.pop()
                continue
            needs = [makers[name] for name in sorted(_reads(node)) if name in makers and id(makers[name]) not in done]
            if needs:
                waiting += needs
            else:
                done.add(id(node))
                ordered.append(waiting.pop())
    return ordered


def unsafe_constants(model: "ModelProto", precision: str) -> Mapping[str, str]:
    """Constants that the other type cannot hold, with the reason: too large, or small and then nothing but zero."""
    import numpy as np
    from onnx import numpy_helper

    found = {}
    for tensor in model.graph.initializer:
        if tensor.data_type != FLOAT:
            continue
        sizes = np.abs(numpy_helper.to_array(tensor)).ravel()
        if ((sizes > LARGEST[precision]) & (sizes < STANDS_FOR_INFINITY)).any():
            found[tensor.name] = "overflow"
        elif (sizes > 0).any() and (sizes[sizes > 0] <= SMALLEST[precision]).all():
            found[tensor.name] = "underflow"
    return found
