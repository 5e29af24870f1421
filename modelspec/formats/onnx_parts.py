"""The parts of an ONNX model, wherever they stand: graphs, nodes and tensors at any depth."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto


def shown(name: str) -> str:
    """A name for a message: quoted, escaped, not too long."""
    return repr(name) if len(name) <= 80 else repr(name[:77]) + "..."


@dataclass(frozen=True)
class Parts:
    """Everything of one kind in a model, found in one pass: those in graphs of training and in functions too."""

    graphs: "list[GraphProto]"
    nodes: "list[NodeProto]"
    sparse: "list[SparseTensorProto]"
    tensors: "list[TensorProto]"
    """Initializers, those in attributes, and the values and indices of sparse ones."""


def parts(model: "ModelProto") -> Parts:
    """The parts of a model."""
    found = Parts(list(graphs(model)), [], [], [])
    for graph in found.graphs:
        found.nodes.extend(graph.node)
        found.tensors.extend(graph.initializer)
        found.sparse.extend(graph.sparse_initializer)
    for function in model.functions:
        found.nodes.extend(function.node)
        for attribute in function.attribute_proto:
            _add(attribute, found)
    for node in found.nodes:
        for attribute in node.attribute:
            _add(attribute, found)
    for sparse in found.sparse:
        found.tensors.extend((sparse.values, sparse.indices))
    return found


def _add(attribute: "AttributeProto", found: Parts) -> None:
    if attribute.HasField("t"):
        found.tensors.append(attribute.t)
    found.tensors.extend(attribute.tensors)
    if attribute.HasField("sparse_tensor"):
        found.sparse.append(attribute.sparse_tensor)
    found.sparse.extend(attribute.sparse_tensors)


def graphs(model: "ModelProto") -> "Iterator[GraphProto]":
    """The graph, every graph inside it or inside a function, and the graphs of training."""
    waiting: list[GraphProto] = [model.graph]
    for training in model.training_info:
        waiting += [training.initialization, training.algorithm]
    for function in model.functions:
        for attribute in function.attribute_proto:
            waiting += subgraphs(attribute)
        waiting += _inside(function.node)
    while waiting:
        graph = waiting.pop()
        yield graph
        waiting += _inside(graph.node)


def _inside(nodes: "Iterable[NodeProto]") -> "Iterator[GraphProto]":
    for node in nodes:
        for attribute in node.attribute:
            yield from subgraphs(attribute)


def subgraphs(attribute: "AttributeProto") -> "list[GraphProto]":
    """The graphs that an attribute holds."""
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
