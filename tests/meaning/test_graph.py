"""Two ONNX files are the same graph whatever the order of their parts, and whatever they say to people."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelspec.formats import onnx_model
from modelspec.meaning.graph import outline
from modelspec.meaning.values import leaves
from tests.stages import graphs

Model = onnx.ModelProto


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return onnx_model.read(graphs.conv(tmp_path) / "model.onnx")


def reverse(parts: Any) -> None:
    """The same parts the other way round."""
    turned = list(parts)[::-1]
    del parts[:]
    parts.extend(turned)


def differences(model: Model, edit: Callable[[Model], object]) -> list[str]:
    other = Model()
    other.CopyFrom(model)
    edit(other)
    (old, tensors), (new, new_tensors) = outline(model), outline(other)
    assert tensors.keys() == new_tensors.keys()
    return [path for path, _, _ in leaves(old, new)]


@pytest.mark.parametrize("edit", [
    lambda m: reverse(m.graph.initializer),
    lambda m: reverse(m.graph.node),
    lambda m: reverse(m.graph.node[0].attribute),
    lambda m: m.graph.node[0].__setattr__("name", "another"),
    lambda m: m.graph.__setattr__("name", "another"),
    lambda m: m.graph.node[0].__setattr__("doc_string", "words"),
    lambda m: m.__setattr__("producer_name", "somebody"),
    lambda m: m.metadata_props.add(key="author", value="somebody"),
])  # fmt: skip
def test_order_and_words_do_not_count(model: Model, edit: Callable[[Model], object]) -> None:
    assert differences(model, edit) == []


@pytest.mark.parametrize(("edit", "path"), [
    (lambda m: m.graph.node[0].__setattr__("op_type", "ConvTranspose"), "graph.node.a.op_type"),
    (lambda m: m.graph.node[0].attribute[0].ints.__setitem__(0, 7), "graph.node.a.attribute.pads.ints.0"),
    (lambda m: m.graph.node[2].input.__setitem__(0, "x"), "graph.node.c.input.0"),
    (lambda m: m.graph.input[0].__setattr__("name", "y"), "graph.input.y"),
    (lambda m: m.opset_import[0].__setattr__("version", 18), "opset_import.ai.onnx.version"),
    (lambda m: m.__setattr__("ir_version", 8), "ir_version"),
])  # fmt: skip
def test_what_the_runtime_reads_counts(model: Model, edit: Callable[[Model], object], path: str) -> None:
    assert path in differences(model, edit)


def test_the_order_of_inputs_counts(model: Model) -> None:
    model.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [1]))
    assert differences(model, lambda m: reverse(m.graph.input)) == ["graph.input"]


def test_every_tensor_has_a_name_of_its_own() -> None:
    """Initializers, sparse ones, constants in attributes, and all of them again in a subgraph of the same names."""
    weight = numpy_helper.from_array(np.ones(2, np.float32), "w")
    sparse = helper.make_sparse_tensor(numpy_helper.from_array(np.ones(1, np.float32), "s"), numpy_helper.from_array(np.zeros(1, np.int64), "i"), [4])  # fmt: skip
    constant = helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.ones(3, np.float32), ""))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    inner = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "inner", [], [y], [weight])
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    branch = helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner)
    graph = helper.make_graph([constant, branch], "outer", [condition], [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])], [weight], sparse_initializer=[sparse])  # fmt: skip
    _, tensors = outline(helper.make_model(graph))
    assert sorted(tensors) == sorted(
        ["w", "k.value", "z.then_branch/w", "z.else_branch/w", "[0].values", "[0].indices"],
    )
