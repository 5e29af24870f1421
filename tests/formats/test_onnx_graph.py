"""The structure of ONNX models: order, names, functions and operators, whatever the file says."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from modelspec.errors import ModelspecError
from modelspec.formats import onnx_model


def value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [4])


def node(taken: str, given: str, kind: str = "Relu", **options: object) -> NodeProto:
    return helper.make_node(kind, taken.split(), given.split(), **options)  # type: ignore[arg-type]


def model(*nodes: NodeProto, functions: tuple[onnx.FunctionProto, ...] = (), opset: int = 17) -> ModelProto:
    weight = numpy_helper.from_array(np.ones(4, np.float32), "w")
    graph = helper.make_graph(nodes, "graph", [value("x")], [value("y")], [weight])
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9, functions=list(functions))


def function(name: str, *nodes: NodeProto) -> onnx.FunctionProto:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, ["x"], ["y"], list(nodes), imports)


def call(name: str, taken: str = "x", given: str = "y") -> NodeProto:
    return node(taken, given, name, domain="own")


def refused(made: ModelProto | bytes, folder: Path) -> tuple[str, str]:
    (folder / "model.onnx").write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    with pytest.raises(ModelspecError) as caught:
        onnx_model.read(folder / "model.onnx")
    (problem,) = caught.value.diagnostics
    assert "\n" not in problem.message
    assert "\0" not in problem.message
    return problem.code, problem.message


def passes(made: ModelProto, folder: Path) -> None:
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    onnx_model.read(folder / "model.onnx")


def branch(*nodes: NodeProto, output: str = "b") -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "branch", [], [value(output)])


def choice(then: onnx.GraphProto, other: onnx.GraphProto) -> NodeProto:
    return helper.make_node("If", ["x"], ["y"], then_branch=then, else_branch=other)


@pytest.mark.parametrize(("made", "words"), [
    (model(node("b", "a"), node("a", "b"), node("x", "y")), "a cycle of nodes"),
    (model(node("x y", "y", "Add")), "a cycle of nodes: 'Add'"),
    (model(node("c", "a"), node("a", "b"), node("b", "c"), node("x", "y")), "a cycle of nodes"),
    (model(node("a", "y"), node("x", "a")), "stands before the one that makes its input 'a'"),
    (model(node("nowhere", "y")), "needs 'nowhere', which nothing makes"),
    (model(node("x", "z")), "the graph gives 'y', which nothing makes"),
    (model(node("x", "a"), node("x", "a"), node("a", "y")), "'a' is made twice"),
    (model(node("x", "a a", "Split"), node("a", "y")), "'a' is made twice"),
    (model(node("x", "x"), node("x", "y")), "'x' is made twice"),
    (model(node("x", "w"), node("w", "y")), "'w' is made twice"),
    (model(call("F"), functions=(function("F", node("x", "x"), node("x", "y")),)), "'x' is made twice"),
    (model(choice(branch(node("late", "b")), branch(node("x", "b"))), node("x", "late")), "needs 'late'"),
    (model(choice(branch(node("x", "b")), branch(node("b", "b2"), output="b2"))), "needs 'b'"),
    (model(choice(branch(node("x", "c")), branch(node("x", "b")))), "gives 'b'"),
    (model(call("F"), functions=(function("F", node("w", "y")),)), "needs 'w', which nothing makes"),
    (model(call("F"), functions=(function("F", node("x", "z")),)), "the function 'F' gives 'y'"),
    (model(call("F"), functions=(function("F", node("x", "y")), function("F", node("x", "y")))), "one name"),
])  # fmt: skip
def test_every_value_is_made_once_before_it_is_used(made: ModelProto, words: str, tmp_path: Path) -> None:
    code, message = refused(made, tmp_path)
    assert code == "MS504"
    assert words in message


@pytest.mark.parametrize("made", [
    model(node("x w", "y", "Add")),
    model(node("x  w", "y", "Clip")),
    model(choice(branch(node("x", "b")), branch(node("x", "b")))),
    model(node("x", "a"), choice(branch(node("a", "b")), branch(node("w", "a"), node("a", "b")))),
    model(call("F"), functions=(function("F", call("G")), function("G", node("x", "y")))),
    model(call("F", given="a"), call("F", "a"), functions=(function("F", node("x", "y")),)),
    model(node("x", "y"), opset=onnx.defs.onnx_opset_version()),
])  # fmt: skip
def test_sound_models_pass(made: ModelProto, tmp_path: Path) -> None:
    passes(made, tmp_path)


def named(change: Callable[[ModelProto], object]) -> ModelProto:
    made = model(node("x", "a", name="first"), node("a", "y", name="second"))
    change(made)
    return made


BAD = ("a\0b", "a\nb", "a\rb", "\x1b[31m", "a\x7f")


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("change", [
    lambda m, bad: setattr(m.graph, "name", bad),
    lambda m, bad: setattr(m.graph.node[0], "name", bad),
    lambda m, bad: setattr(m.graph.node[0], "op_type", bad),
    lambda m, bad: setattr(m.graph.node[0], "domain", bad),
    lambda m, bad: m.graph.node[0].attribute.add(name=bad),
    lambda m, bad: (m.graph.node[0].output.__setitem__(0, bad), m.graph.node[1].input.__setitem__(0, bad)),
    lambda m, bad: setattr(m.graph.initializer[0], "name", bad),
    lambda m, bad: setattr(m.graph.input[0], "name", bad),
    lambda m, bad: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_param", bad),
    lambda m, bad: m.opset_import.add(domain=bad, version=1),
    lambda m, bad: m.functions.add(name=bad, domain="own"),
    lambda m, bad: m.functions.add(name="f", domain="own").attribute.append(bad),
    lambda m, bad: m.functions.add(name="f", domain="own").node.add(op_type=bad),
    lambda m, bad: m.graph.node[0].attribute.add(name="g").g.node.add(name=bad),
    lambda m, bad: setattr(m.graph.node[0].attribute.add(name="t").t, "name", bad),
])  # fmt: skip
def test_names_hold_no_control_characters(
    change: Callable[[ModelProto, str], object], bad: str, tmp_path: Path
) -> None:
    code, message = refused(named(lambda made: change(made, bad)), tmp_path)
    assert code == "MS504"
    assert "the name" in message


@pytest.mark.parametrize(("change", "words"), [
    (lambda m: setattr(m.graph.initializer[0], "name", ""), "an initializer without a name"),
    (lambda m: setattr(m.graph.input[0], "name", ""), "an input without a name"),
    (lambda m: setattr(m.graph.output[0], "name", ""), "an output without a name"),
    (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "two of its initializers have the name 'w'"),
    (lambda m: m.graph.input.append(m.graph.input[0]), "two of its inputs have the name 'x'"),
    (lambda m: m.graph.output.append(m.graph.output[0]), "two of its outputs have the name 'y'"),
    (lambda m: m.opset_import.add(domain="ai.onnx", version=18), "two versions of 'ai.onnx'"),
])  # fmt: skip
def test_names_tell_things_apart(change: Callable[[ModelProto], object], words: str, tmp_path: Path) -> None:
    code, message = refused(named(change), tmp_path)
    assert code == "MS504"
    assert words in message


def test_a_name_that_is_not_text_is_refused(tmp_path: Path) -> None:
    assert refused(named(lambda m: None).SerializeToString().replace(b"second", b"secon\xff"), tmp_path)[0] == "MS504"


def test_a_long_name_is_cut_in_the_message(tmp_path: Path) -> None:
    _, message = refused(model(node("n" * 100_000, "y")), tmp_path)
    assert len(message) < 300


@pytest.mark.parametrize("functions", [
    (function("F", call("F")),),
    (function("F", call("G")), function("G", call("F"))),
    (function("F", call("G")), function("G", call("H")), function("H", call("F"))),
    (function("F", choice(branch(call("F", given="b")), branch(node("x", "b")))),),
])  # fmt: skip
def test_functions_do_not_call_themselves(functions: tuple[onnx.FunctionProto, ...], tmp_path: Path) -> None:
    code, message = refused(model(call("F"), functions=functions), tmp_path)
    assert code == "MS613"
    assert "in a circle" in message


def test_calls_do_not_multiply_without_end(tmp_path: Path) -> None:
    """Sixty functions, each calling the next twice: a file of some kilobytes that comes to 2^60 nodes."""
    made = [function(f"F{i}", call(f"F{i + 1}", given="a"), call(f"F{i + 1}", "a")) for i in range(60)]
    made.append(function("F60", node("x", "y")))
    began = time.monotonic()
    code, message = refused(model(call("F0"), functions=tuple(made)), tmp_path)
    assert code == "MS613"
    assert "10,000,000 nodes" in message
    assert time.monotonic() - began < 10


def nested(depth: int) -> bytes:
    """Graphs in graphs, as bytes: the library would not write so many."""

    def field(number: int, size: int) -> bytes:
        length = b""
        while size > 127:
            length += bytes([size & 127 | 128])
            size >>= 7
        return bytes([number << 3 | 2]) + length + bytes([size])

    parts: list[bytes] = []
    size = 0
    for _ in range(depth):
        for number in (6, 5, 1):  # attribute.g, node.attribute, graph.node
            parts.append(field(number, size))
            size += len(parts[-1])
    parts.append(field(7, size))
    return b"\x08\x09" + b"".join(reversed(parts))


@pytest.mark.parametrize("depth", [40, 1000, 100_000])
def test_depth_does_not_reach_the_stack(depth: int, tmp_path: Path) -> None:
    assert refused(nested(depth), tmp_path) == ("MS504", "model.onnx is not an ONNX file")


def test_depth_that_the_format_allows_is_read(tmp_path: Path) -> None:
    made = branch(node("x", "b"))
    for _ in range(20):
        made = branch(helper.make_node("If", ["x"], ["b"], then_branch=made, else_branch=branch(node("x", "b"))))
    passes(model(choice(made, branch(node("x", "b")))), tmp_path)


@pytest.mark.parametrize("place", ["graph", "branch", "function"])
def test_operators_of_strangers_are_named(place: str, tmp_path: Path) -> None:
    strange = node("x", "y" if place != "branch" else "b", "Steal", domain="com.evil")
    made = {
        "graph": lambda: model(strange),
        "branch": lambda: model(choice(branch(strange), branch(node("x", "b")))),
        "function": lambda: model(call("F"), functions=(function("F", strange),)),
    }[place]()
    code, message = refused(made, tmp_path)
    assert code == "MS513"
    assert "'com.evil:Steal'" in message


def test_an_opset_of_the_future_is_refused(tmp_path: Path) -> None:
    newer = onnx.defs.onnx_opset_version() + 1
    late = model(call("F"), functions=(function("F", node("x", "y")),))
    late.functions[0].opset_import[0].version = newer
    for made in (model(node("x", "y"), opset=newer), late):
        code, message = refused(made, tmp_path)
        assert code == "MS513"
        assert "newest that is known here" in message


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"PK\3\4" + bytes(60), b"\xff" * 1000, b"not a model at all", b"\x08\x09"]
)
def test_what_is_no_model_is_said(data: bytes, tmp_path: Path) -> None:
    assert refused(data, tmp_path)[0] == "MS504"


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(ModelspecError, match=r"MS504 .* may not reach 2 GiB"):
        onnx_model.read(tmp_path / "model.onnx")


@pytest.mark.parametrize("depth_of", ["graph", "function"])
def test_the_time_grows_with_the_size_alone(depth_of: str, tmp_path: Path) -> None:
    """Many branches below many values: a copy of what is visible for each of them would take minutes."""
    values = [node("x", f"a{i}") for i in range(20_000)]
    branches = [
        helper.make_node(
            "If", ["x"], [f"y{i}"], then_branch=branch(node("a0", "b")), else_branch=branch(node("a1", "b"))
        )
        for i in range(5_000)
    ]
    last = node("y0", "y")
    if depth_of == "graph":
        made = model(*values, *branches, last)
    else:
        made = model(call("F"), functions=(function("F", *values, *branches, last),))
    began = time.monotonic()
    passes(made, tmp_path)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(("side", "dims"), [
    ("input", [-1, 4]), ("input", [10**12]), ("output", [2**62, 4]), ("output", [-(2**63)]), ("input", [2**20, 2**20]),
])  # fmt: skip
def test_inputs_and_outputs_have_possible_dimensions(side: str, dims: list[int]) -> None:
    made = model(node("x", "y"))
    (value_,) = getattr(made.graph, side)
    value_.CopyFrom(helper.make_tensor_value_info(value_.name, TensorProto.FLOAT, dims))
    with pytest.raises(ModelspecError, match=r"MS507 .*impossible dimensions"):
        onnx_model.signature_of(made)


def test_elements_of_an_unknown_type_are_told_by_number() -> None:
    made = model(node("x", "y"))
    made.graph.input[0].type.tensor_type.elem_type = 115
    with pytest.raises(ModelspecError, match=r"MS507 .*of type number 115"):
        onnx_model.signature_of(made)
