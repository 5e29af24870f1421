"""Weight-only precisions: the integers are the right ones, every form of a linear layer is taken, the rest is said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from modelspec.errors import ModelspecError
from modelspec.formats import npz, onnx_model
from modelspec.formats.onnx_session import open_session
from modelspec.quantization import WEIGHT_BITS, Auto, Weights
from modelspec.stage import Determinism, Job
from modelspec.stages._quantize_weights import pack
from modelspec.stages.compile import Compile
from modelspec.stages.quantize import Quantize
from modelspec.targets.cpu import Cpu
from tests.stages import graphs

CHOICES = [(bits, block, symmetric) for bits in (4, 8) for block in (16, 128) for symmetric in (False, True)]


def unpacked(matrix: Any, bits: int, block: int, symmetric: bool) -> Any:
    """The matrix that the integers stand for, by the definition of MatMulNBits."""
    made = pack(matrix, bits, block, symmetric=symmetric)
    rows, columns = matrix.shape

    def integers(packed: Any, count: int) -> Any:
        halves = packed if bits == 8 else np.stack([packed & 15, packed >> 4], axis=-1)
        return halves.reshape(*packed.shape[:-1], -1)[..., :count].astype(np.float32)

    values = integers(made.values, block)
    zeros = np.float32(2 ** (bits - 1)) if made.zeros is None else integers(made.zeros, values.shape[1])[:, :, None]
    return ((values - zeros) * made.scales[:, :, None]).reshape(columns, -1)[:, :rows].T


@pytest.mark.parametrize(("bits", "block", "symmetric"), CHOICES)
def test_each_weight_is_within_half_a_step(bits: int, block: int, symmetric: bool) -> None:
    matrix = np.random.default_rng(0).normal(size=(100, 7)).astype(np.float32)
    matrix[:block, 3], matrix[:, 4], matrix[:, 5] = 0.0, np.abs(matrix[:, 4]), -np.abs(matrix[:, 5])
    found = unpacked(matrix, bits, block, symmetric)
    scales = pack(matrix, bits, block, symmetric=symmetric).scales
    steps = np.abs(np.repeat(scales, block, axis=1)[:, :100].T)
    # The far end of a symmetric range is one step short; a zero point is rounded as well.
    allowed = 1.001 if symmetric else 0.501
    assert (np.abs(found - matrix) <= allowed * steps + (0 if symmetric else 0.5 * steps) + 1e-7).all()
    assert (found[:block, 3] == 0).all()


@pytest.mark.parametrize(("bits", "block", "symmetric"), CHOICES)
def test_the_runtime_reads_them_as_they_are_meant(
    run_stage: Any, tmp_path: Path, bits: int, block: int, symmetric: bool
) -> None:
    precision: Any = next(name for name, value in WEIGHT_BITS.items() if value == bits)
    made = graphs.made_of(graphs.mlp(tmp_path), tmp_path / "made", (40, 32))
    method = Weights.model_validate({"block_size": block, "symmetric": symmetric})
    job = run_stage(Quantize(precision=precision, method=method), {"model": made["model"]})
    x = npz.read(made["samples"] / "inputs.npz")["x"]
    found = open_session(job.output("model") / "model.onnx").run({"x": x})["logits"]
    w1, w2 = (unpacked(w, bits, block, symmetric) for w in graphs.weights((32, 64), (64, 8)))
    np.testing.assert_allclose(found, np.maximum(x @ w1, 0) @ w2, rtol=1e-4, atol=1e-4)
    assert said(job)["quantized"] == {"MatMulNBits": 2}
    assert not {"w1", "w2"} & {t.name for t in onnx_model.read(job.output("model") / "model.onnx").graph.initializer}


def said(job: Job) -> dict[str, Any]:
    return dict(json.loads((job.output("metrics") / "quantize.json").read_text()))


def gemm(folder: Path, bias: Any, **attributes: Any) -> dict[str, Path]:
    """x [batch, 32] -> logits [batch, 8] by one Gemm, with the samples."""
    (w,) = graphs.weights((8, 32) if attributes.get("transB") else (32, 8))
    values = {"w": w} | ({} if bias is None else {"b": bias})
    node = helper.make_node("Gemm", ["x", *values], ["logits"], name="head", **attributes)
    model = graphs.save(folder, [node], values, {"x": ("batch", 32)}, {"logits": ("batch", 8)})
    return graphs.made_of(model, folder / "made", (40, 32))


ROW = np.arange(8, dtype=np.float32)


@pytest.mark.parametrize(("bias", "attributes"), [
    (None, {}), (ROW, {}), (ROW[None], {}), (ROW[:1], {}), (ROW, {"transB": 1}), (None, {"transB": 1, "alpha": 0.5}),
    (ROW, {"alpha": 2.0, "beta": 0.25}), (ROW, {"transB": 1, "beta": 0.0}),
])  # fmt: skip
def test_a_gemm_of_any_form_is_taken(run_stage: Any, tmp_path: Path, bias: Any, attributes: dict[str, Any]) -> None:
    made = gemm(tmp_path, bias, **attributes)
    job = run_stage(Quantize(precision="int8w", method=Weights()), {"model": made["model"]})
    expected = npz.read(made["samples"] / "outputs.npz")["logits"]
    found = open_session(job.output("model") / "model.onnx").run(npz.read(made["samples"] / "inputs.npz"))["logits"]
    assert np.abs(found - expected).max() < 0.01 * np.ptp(expected)
    assert said(job)["quantized"] == {"MatMulNBits": 1}
    onnx.checker.check_model(str(job.output("model") / "model.onnx"))


def test_a_turned_input_is_left_and_refused_when_it_is_all(run_stage: Any, tmp_path: Path) -> None:
    (w,) = graphs.weights((40, 8))
    node = helper.make_node("Gemm", ["x", "w"], ["logits"], name="head", transA=1)
    model = graphs.save(tmp_path, [node], {"w": w}, {"x": (40, "batch")}, {"logits": ("batch", 8)})
    with pytest.raises(ModelspecError) as caught:
        run_stage(Quantize(precision="int4", method=Weights()), {"model": model})
    assert caught.value.diagnostics[0].code == "MS510"


@pytest.mark.parametrize("precision", WEIGHT_BITS)
def test_nothing_to_quantize_is_refused(run_stage: Any, tmp_path: Path, precision: Any) -> None:
    with pytest.raises(ModelspecError) as caught:
        run_stage(Quantize(precision=precision, method=Weights()), {"model": graphs.elementwise(tmp_path)})
    assert caught.value.diagnostics[0].code == "MS510"


def test_what_stays_in_float_is_said(run_stage: Any, tmp_path: Path) -> None:
    job = run_stage(Quantize(precision="int4", method=Weights()), {"model": graphs.conv(tmp_path)})
    assert said(job)["left"] == {"Conv": 1}
    (warning,) = [w for w in job.warnings if w.code == "MS556"]
    assert "69% of the weights stay in float" in warning.message
    assert "Conv is none" in warning.message


def test_a_weight_that_others_read_too_keeps_its_float_form(run_stage: Any, tmp_path: Path) -> None:
    (w,) = graphs.weights((32, 32))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("MatMul", ["a", "w"], ["b"], name="second"),
        helper.make_node("Add", ["b", "w"], ["y"], name="sum"),
    ]
    model = graphs.save(tmp_path, nodes, {"w": w}, {"x": (32, 32)}, {"y": (32, 32)})
    job = run_stage(Quantize(precision="int8w", method=Weights()), {"model": model})
    names = sorted(t.name for t in onnx_model.read(job.output("model") / "model.onnx").graph.initializer)
    assert names == ["w", "w_packed_0", "w_scales_0", "w_zeros_0"]


def test_excluded_nodes_stay_and_the_worst_comes_first(run_stage: Any, tmp_path: Path) -> None:
    made = graphs.made_of(graphs.planted(tmp_path), tmp_path / "made", (40, 32))
    inputs = {"model": made["model"], "signature": made["signature"]}
    job = run_stage(Quantize(precision="int4", method=Weights(sensitivity=True)), inputs)
    assert said(job)["sensitivity"][0]["node"] == "middle"
    job = run_stage(Quantize(precision="int4", method=Weights(sensitivity=True, exclude=("mid*",))), inputs)
    assert [row["node"] for row in said(job)["sensitivity"]] == ["last", "first"]
    assert said(job)["quantized"] == {"MatMulNBits": 2}


@pytest.mark.parametrize("graph", ["mlp", "rows", "attention", "biased"])
@pytest.mark.parametrize("precision", WEIGHT_BITS)
def test_compile_takes_it(run_stage: Any, tmp_path: Path, graph: str, precision: Any) -> None:
    shape = (40, 5, 16) if graph == "attention" else (40, 32)
    made = graphs.made_of(getattr(graphs, graph)(tmp_path), tmp_path / "made", shape)
    quantized = run_stage(Quantize(precision=precision, method=Weights()), {"model": made["model"]})
    target = Cpu(device="cpu", precision=precision)
    inputs = {"model": quantized.output("model"), "samples": made["samples"]}
    artifact = run_stage(Compile(), inputs, target=target).output("artifact")
    assert "MatMulNBits" in {node.op_type for node in onnx_model.read(artifact / "model.onnx").graph.node}
    samples = npz.read(made["samples"] / "inputs.npz")
    found = next(iter(target.open_session(artifact).run(samples).values())).ravel()
    expected = next(iter(npz.read(made["samples"] / "outputs.npz").values())).ravel()
    cosine = expected @ found / np.linalg.norm(expected) / np.linalg.norm(found)
    assert cosine > (0.95 if precision == "int4" else 0.9995)


def test_activations_of_eight_bits_are_asked_of_the_runtime(run_stage: Any, tmp_path: Path) -> None:
    made = graphs.made_of(graphs.mlp(tmp_path), tmp_path / "made", (40, 32))
    answers = []
    for activations, attributes in (("float32", set()), ("int8", {"accuracy_level"})):
        method = Weights.model_validate({"activations": activations})
        job = run_stage(Quantize(precision="int8w", method=method), {"model": made["model"]})
        path = job.output("model") / "model.onnx"
        nodes = [node for node in onnx_model.read(path).graph.node if node.op_type == "MatMulNBits"]
        named = {attribute.name for node in nodes for attribute in node.attribute}
        assert named == {"K", "N", "bits", "block_size", *attributes}
        answers.append(open_session(path).run(npz.read(made["samples"] / "inputs.npz"))["logits"])
    assert 0 < np.abs(answers[0] - answers[1]).max() < 0.1


def test_only_what_measures_depends_on_the_instruction_set() -> None:
    plain = Quantize(precision="int4", method=Weights())
    ranked = Quantize(precision="int4", method=Weights(sensitivity=True))
    assert (plain.promised(), plain.depends_on()) == (Determinism.EXACT, ("arch",))
    for stage in (ranked, Quantize(method=Auto())):
        assert (stage.promised(), stage.depends_on()) == (Determinism.NUMERIC, ("arch", "isa"))
