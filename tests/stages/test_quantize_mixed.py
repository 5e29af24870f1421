"""Mixed precision: what is safe computes in 16 bits, what is not stays in fp32 and is named, and nothing falls short unseen."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from modelspec.errors import ModelspecError
from modelspec.formats import npz
from modelspec.formats.onnx_bfloat import open_rounded
from modelspec.formats.onnx_session import open_session
from modelspec.quantization import Mixed
from modelspec.stage import Job
from modelspec.stages._quantize_types import left_in_float
from modelspec.stages.quantize import Quantize
from tests.stages import graphs

SHAPES: Mapping[str, tuple[int, ...]] = {"mlp": (40, 32), "conv": (40, 1, 8, 8), "attention": (40, 5, 16)}


def run(
    run_stage: Any, tmp_path: Path, source: Path, shape: tuple[int, ...], precision: str = "fp16", **options: Any
) -> Job:
    made = graphs.made_of(source, tmp_path / "made", shape)
    x = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    inputs = {"model": made["model"], "signature": made["signature"], "data": graphs.data(tmp_path / "data", x=x)}
    job: Job = run_stage(Quantize(precision=precision, method=Mixed(data="data", **options)), inputs)  # type: ignore[arg-type]
    return job


def kept(job: Job) -> dict[str, str]:
    said = json.loads((job.output("metrics") / "quantize.json").read_text())
    return {one["node"]: one["reason"] for one in said["left_in_float"]}


def types(job: Job) -> dict[str, int]:
    """The element type of each tensor, as ONNX infers it."""
    model = onnx.shape_inference.infer_shapes(onnx.load(job.output("model") / "model.onnx"))
    return {value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.output)}


@pytest.mark.parametrize("graph", SHAPES)
def test_all_of_a_tame_graph_computes_in_fp16_and_answers_alike(run_stage: Any, tmp_path: Path, graph: str) -> None:
    job = run(run_stage, tmp_path, getattr(graphs, graph)(tmp_path), SHAPES[graph])
    file = job.output("model") / "model.onnx"
    assert kept(job) == {}
    assert not left_in_float(onnx.load(file), "fp16", ())
    onnx.checker.check_model(str(file), full_check=True)
    inputs = npz.read(tmp_path / "made" / "samples" / "inputs.npz")
    expected = npz.read(tmp_path / "made" / "samples" / "outputs.npz")
    for name, found in open_session(file).run(inputs).items():
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected[name], atol=5e-3 * np.abs(expected[name]).max())
        assert not np.array_equal(found, expected[name])


def hot(tmp_path: Path, factor: float) -> Path:
    """A product whose numbers grow by `factor`, and shrink again; then another."""
    w1, w2 = graphs.weights((32, 16), (16, 4))
    node = helper.make_node
    nodes = [node("MatMul", ["x", "w1"], ["a"], name="first"), node("Mul", ["a", "grow"], ["b"], name="planted"),
             node("Mul", ["b", "shrink"], ["c"], name="back"), node("MatMul", ["c", "w2"], ["y"], name="last")]  # fmt: skip
    values = {"w1": w1, "w2": w2, "grow": np.array(factor, np.float32), "shrink": np.array(1 / factor, np.float32)}
    return graphs.save(tmp_path, nodes, values, {"x": ("batch", 32)}, {"y": ("batch", 4)})


def test_a_layer_that_overflows_stays_in_fp32_and_is_named(run_stage: Any, tmp_path: Path) -> None:
    job = run(run_stage, tmp_path, hot(tmp_path, 60000.0), (40, 32))
    assert kept(job) == {"planted": "overflow", "back": "overflow"}
    found = types(job)
    assert found["b"] == TensorProto.FLOAT
    assert found["a_fp16"] == TensorProto.FLOAT16
    answers = open_session(job.output("model") / "model.onnx").run(
        npz.read(tmp_path / "made" / "samples" / "inputs.npz")
    )
    expected = npz.read(tmp_path / "made" / "samples" / "outputs.npz")
    np.testing.assert_allclose(answers["y"], expected["y"], atol=2e-2)


def test_without_the_planted_layer_nothing_is_kept(run_stage: Any, tmp_path: Path) -> None:
    assert kept(run(run_stage, tmp_path, hot(tmp_path, 10.0), (40, 32))) == {}


def test_bf16_has_the_range_and_keeps_nothing(run_stage: Any, tmp_path: Path) -> None:
    job = run(run_stage, tmp_path, hot(tmp_path, 60000.0), (40, 32), "bf16")
    assert kept(job) == {}
    assert types(job)["b"] == TensorProto.BFLOAT16
    inputs = npz.read(tmp_path / "made" / "samples" / "inputs.npz")
    expected = npz.read(tmp_path / "made" / "samples" / "outputs.npz")["y"]
    found = open_rounded(job.output("model") / "model.onnx").run(inputs)["y"]
    np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())
    assert np.abs(found - expected).max() > 1e-4 * np.abs(expected).max(), "it was not rounded"


def test_headroom_moves_the_border(run_stage: Any, tmp_path: Path) -> None:
    source = hot(tmp_path, 6000.0)
    assert "planted" in kept(run(run_stage, tmp_path / "wide", source, (40, 32), headroom=8.0))
    assert kept(run(run_stage, tmp_path / "narrow", source, (40, 32), headroom=1.0)) == {}


def test_a_small_constant_that_would_be_zero_stays(run_stage: Any, tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceL2", ["x"], ["n"], name="norm", axes=[1], keepdims=1),
             helper.make_node("Max", ["n", "eps"], ["m"], name="floor"), helper.make_node("Div", ["x", "m"], ["y"], name="div")]  # fmt: skip
    source = graphs.save(
        tmp_path, nodes, {"eps": np.array(1e-12, np.float32)}, {"x": ("batch", 8)}, {"y": ("batch", 8)}
    )
    assert kept(run(run_stage, tmp_path, source, (40, 8))) == {"floor": "underflow"}


def test_large_whole_numbers_stay_exact_with_what_makes_them(run_stage: Any, tmp_path: Path) -> None:
    node = helper.make_node
    nodes = [node("Abs", ["x"], ["a"], name="abs"), node("Mul", ["a", "k"], ["b"], name="place"), node("Cast", ["b"], ["i"], name="index", to=TensorProto.INT64),
             node("Cast", ["i"], ["f"], name="back", to=TensorProto.FLOAT), node("Mul", ["f", "s"], ["y"], name="scaled")]  # fmt: skip
    values = {"k": np.array(1500.0, np.float32), "s": np.array(0.25, np.float32)}
    source = graphs.save(tmp_path, nodes, values, {"x": ("batch", 8)}, {"y": ("batch", 8)})
    found = kept(run(run_stage, tmp_path, source, (40, 8)))
    assert {"index": "exact", "place": "exact"}.items() <= found.items()
    assert "abs" not in found


def test_a_mask_of_minus_infinity_does_not_keep_the_attention(run_stage: Any, tmp_path: Path) -> None:
    node = helper.make_node
    nodes = [node("Greater", ["x", "zero"], ["c"], name="greater"), node("Where", ["c", "zero", "low"], ["m"], name="mask"),
             node("Add", ["x", "m"], ["s"], name="add"), node("Softmax", ["s"], ["y"], name="softmax")]  # fmt: skip
    values = {"zero": np.array(0, np.float32), "low": np.array(np.finfo(np.float32).min)}
    job = run(
        run_stage, tmp_path, graphs.save(tmp_path, nodes, values, {"x": ("batch", 8)}, {"y": ("batch", 8)}), (40, 8)
    )
    assert kept(job) == {}
    inputs = npz.read(tmp_path / "made" / "samples" / "inputs.npz")
    found = open_session(job.output("model") / "model.onnx").run(inputs)["y"]
    np.testing.assert_allclose(found, npz.read(tmp_path / "made" / "samples" / "outputs.npz")["y"], atol=2e-3)


def uncastable(tmp_path: Path) -> Path:
    """Its first node is of another domain, of which nothing is known."""
    (w,) = graphs.weights((32, 4))
    nodes = [helper.make_node("FastGelu", ["x"], ["a"], name="odd", domain="com.microsoft"), helper.make_node("MatMul", ["a", "w"], ["y"], name="product")]  # fmt: skip
    folder = graphs.save(tmp_path, nodes, {"w": w}, {"x": ("batch", 32)}, {"y": ("batch", 4)}, domain="com.microsoft")
    model = onnx.load(folder / "model.onnx")
    model.opset_import[1].version = 1
    onnx.save(model, folder / "model.onnx")
    return folder


def test_an_operator_that_cannot_be_cast_fails_with_the_list(run_stage: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelspecError, match=r"MS580 1 node does not reach fp16: 'odd': FastGelu"):
        run(run_stage, tmp_path, uncastable(tmp_path), (40, 32))


def test_excluded_it_stays_and_is_named(run_stage: Any, tmp_path: Path) -> None:
    job = run(run_stage, tmp_path, uncastable(tmp_path), (40, 32), exclude=("odd",))
    assert kept(job) == {"odd": "excluded"}
    with pytest.raises(ModelspecError, match="MS512"):
        run(run_stage, tmp_path / "again", uncastable(tmp_path / "again"), (40, 32), exclude=("none-such",))


def test_the_check_finds_a_node_that_was_forgotten(run_stage: Any, tmp_path: Path) -> None:
    job = run(run_stage, tmp_path, graphs.mlp(tmp_path), SHAPES["mlp"], exclude=("relu",))
    made = onnx.load(job.output("model") / "model.onnx")
    assert left_in_float(made, "fp16", {"relu"}) == []
    assert left_in_float(made, "fp16", ()) == [("relu", "Relu makes float32")]


def test_an_inner_graph_keeps_what_it_reads(run_stage: Any, tmp_path: Path) -> None:
    node = helper.make_node
    branches = {
        f"{name}_branch": helper.make_graph([node(op, ["a"], [f"{name}_y"], name=f"{name}_op")], name, [],
                                            [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, ("batch", 4))])
        for name, op in (("then", "Neg"), ("else", "Abs"))
    }  # fmt: skip
    (w,) = graphs.weights((32, 4))
    nodes = [node("MatMul", ["x", "w"], ["a"], name="product"), node("If", ["yes"], ["y"], name="if", **branches)]  # type: ignore[arg-type]
    source = graphs.save(tmp_path, nodes, {"w": w, "yes": np.array(True)}, {"x": ("batch", 32)}, {"y": ("batch", 4)})
    job = run(run_stage, tmp_path, source, (40, 32), exclude=("if",))
    inputs = npz.read(tmp_path / "made" / "samples" / "inputs.npz")
    expected = npz.read(tmp_path / "made" / "samples" / "outputs.npz")["y"]
    np.testing.assert_allclose(open_session(job.output("model") / "model.onnx").run(inputs)["y"], expected, atol=1e-2)


OPS = ("Relu", "Tanh", "Neg", "Identity", "Sigmoid")


@given(st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 3), st.booleans()), min_size=1, max_size=8), st.data())
def test_any_choice_of_nodes_gives_a_sound_graph(steps: list[tuple[str, int, bool]], data: st.DataObject) -> None:
    from modelspec.stages._quantize_casts import Casts, plain

    tensors, nodes = ["x"], []
    for index, (op, back, _) in enumerate(steps):
        source = tensors[max(0, len(tensors) - 1 - back)]
        nodes.append(helper.make_node(op, [source], [f"t{index}"], name=f"n{index}"))
        tensors.append(f"t{index}")
    outputs = data.draw(st.sets(st.sampled_from(tensors[1:]), min_size=1))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("b", 4)) for name in ("x", *sorted(outputs))]
    graph = helper.make_graph(nodes, "graph", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    low = [index for index, (_, _, chosen) in enumerate(steps) if chosen]
    made = Casts(plain(model), tensors, low, "fp16").made()
    onnx.checker.check_model(made, full_check=True)
    assert not left_in_float(made, "fp16", {f"n{i}" for i in range(len(steps)) if i not in low})
    x = np.linspace(-2, 2, 8, dtype=np.float32).reshape(2, 4)
    expected = open_session(model.SerializeToString()).run({"x": x})
    for name, found in open_session(made.SerializeToString()).run({"x": x}).items():
        np.testing.assert_allclose(found, expected[name], atol=5e-3)
