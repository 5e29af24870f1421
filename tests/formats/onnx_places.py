"""A sound ONNX model with a tensor of external data in any of the places where a tensor can stand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, SparseTensorProto, TensorProto, helper

DATA = np.arange(4, dtype=np.float32)
INDICES = np.arange(4, dtype=np.int64)
NAME = "weights.bin"


def external(name: str, array: "np.ndarray", offset: int = 0) -> TensorProto:
    """A tensor whose elements are in `weights.bin`."""
    tensor = onnx.numpy_helper.from_array(array, name)
    size = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", NAME), ("offset", str(offset)), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def _sparse(which: str) -> SparseTensorProto:
    values = external("w", DATA) if which == "values" else onnx.numpy_helper.from_array(DATA, "w")
    indices = external("i", INDICES) if which == "indices" else onnx.numpy_helper.from_array(INDICES, "i")
    return helper.make_sparse_tensor(values, indices, [4])


def _graph(nodes: list[onnx.NodeProto], weights: list[TensorProto], output: str = "y") -> GraphProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    y = helper.make_tensor_value_info(output, TensorProto.FLOAT, [4])
    return helper.make_graph(nodes, "graph", [x], [y], weights)


def _model(graph: GraphProto, functions: list[onnx.FunctionProto] | None = None) -> ModelProto:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9, functions=functions or [])


def _add() -> onnx.NodeProto:
    return helper.make_node("Add", ["x", "w"], ["y"])


def _initializer() -> ModelProto:
    return _model(_graph([_add()], [external("w", DATA)]))


def _attribute() -> ModelProto:
    return _model(_graph([helper.make_node("Constant", [], ["w"], value=external("w", DATA)), _add()], []))


def _sparse_model(which: str) -> ModelProto:
    graph = _graph([_add()], [])
    graph.sparse_initializer.append(_sparse(which))
    return _model(graph)


def _branch() -> GraphProto:
    out = helper.make_tensor_value_info("b", TensorProto.FLOAT, [4])
    node = helper.make_node("Add", ["x", "w"], ["b"])
    return helper.make_graph([node], "branch", [], [out], [external("w", DATA)])


def _subgraph() -> ModelProto:
    yes = onnx.numpy_helper.from_array(np.array(True), "yes")
    other = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["c"])], "other", [], [helper.make_tensor_value_info("c", 1, [4])]
    )
    node = helper.make_node("If", ["yes"], ["y"], then_branch=_branch(), else_branch=other)
    return _model(_graph([node], [yes]))


def _function() -> ModelProto:
    nodes = [helper.make_node("Constant", [], ["w"], value=external("w", DATA)), _add()]
    function = helper.make_function("own", "Shift", ["x"], ["y"], nodes, [helper.make_opsetid("", 17)])
    return _model(_graph([helper.make_node("Shift", ["x"], ["y"], domain="own")], []), [function])


def _default_of_function() -> ModelProto:
    node = helper.make_node("Constant", [], ["w"])
    node.attribute.add(name="value", ref_attr_name="weights", type=AttributeProto.TENSOR)
    default = helper.make_attribute("weights", external("w", DATA))
    function = helper.make_function(
        "own", "Shift", ["x"], ["y"], [node, _add()], [helper.make_opsetid("", 17)], attribute_protos=[default]
    )
    return _model(_graph([helper.make_node("Shift", ["x"], ["y"], domain="own")], []), [function])


def _training() -> ModelProto:
    model = _model(_graph([helper.make_node("Identity", ["x"], ["y"])], []))
    model.training_info.add().algorithm.initializer.append(external("w", DATA))
    return model


def _odd_attribute(change: Callable[[AttributeProto], object]) -> ModelProto:
    node = helper.make_node("Identity", ["x"], ["y"])
    change(node.attribute.add(name="odd"))
    return _model(_graph([node], []))


PLACES: dict[str, Callable[[], ModelProto]] = {
    "initializer": _initializer,
    "attribute": _attribute,
    "sparse values": lambda: _sparse_model("values"),
    "sparse indices": lambda: _sparse_model("indices"),
    "subgraph": _subgraph,
    "function": _function,
}
MORE_PLACES: dict[str, Callable[[], ModelProto]] = {
    "default of a function": _default_of_function,
    "training": _training,
    "list of tensors": lambda: _odd_attribute(lambda a: a.tensors.append(external("w", DATA))),
    "sparse attribute": lambda: _odd_attribute(lambda a: a.sparse_tensor.CopyFrom(_sparse("values"))),
    "list of sparse tensors": lambda: _odd_attribute(lambda a: a.sparse_tensors.append(_sparse("indices"))),
    "list of graphs": lambda: _odd_attribute(lambda a: a.graphs.append(_branch())),
}
"""Places that the runtime does not read, and some other reader may."""


def save(model: ModelProto, folder: Path, location: str = NAME) -> Path:
    """The model in `model.onnx`, its external data said to be at `location`; no data is written."""
    _relocate(model, location)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def _relocate(message: object, location: str) -> None:
    """Walk every message there is, by the library's own description of them."""
    for field, value in message.ListFields():  # type: ignore[attr-defined]
        if field.type == field.TYPE_MESSAGE:
            for one in value if field.is_repeated else [value]:
                if isinstance(one, TensorProto):
                    for entry in one.external_data:
                        entry.value = location if entry.value == NAME else entry.value
                _relocate(one, location)
