"""Compile and golden: an optimized graph that answers as before, portable, the same bytes each time."""

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
from modelspec.quantization import Static
from modelspec.stage import Job
from modelspec.stages.compile import Compile
from modelspec.stages.golden import ROWS, Golden
from modelspec.stages.quantize import Quantize
from modelspec.targets.cpu import Cpu
from tests.stages import graphs

FP32, INT8 = Cpu(device="cpu"), Cpu(device="cpu", precision="int8")
SHAPES = {"mlp": (40, 32), "conv": (40, 1, 8, 8), "attention": (40, 5, 16), "elementwise": (40, 4)}


def compiled(run_stage: Any, made: dict[str, Path], target: Cpu = FP32) -> Job:
    job: Job = run_stage(Compile(), {name: made[name] for name in ("model", "samples")}, target=target)
    return job


@pytest.mark.parametrize("graph", SHAPES)
def test_the_artifact_answers_as_the_model_did(run_stage: Any, tmp_path: Path, graph: str) -> None:
    made = graphs.made_of(getattr(graphs, graph)(tmp_path), tmp_path / "made", SHAPES[graph])
    job = compiled(run_stage, made)
    inputs = npz.read(made["samples"] / "inputs.npz")
    expected, found = (
        open_session(made["model"] / "model.onnx").run(inputs),
        FP32.open_session(job.output("artifact")).run(inputs),
    )
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5)
    size = json.loads((job.output("metrics") / "compile.json").read_text())["metrics"]["size"]
    assert size == sum(path.stat().st_size for path in job.output("artifact").iterdir())


def test_batch_normalization_is_folded_and_no_layout_of_the_host_is_baked_in(run_stage: Any, tmp_path: Path) -> None:
    made = graphs.made_of(graphs.conv(tmp_path), tmp_path / "made", SHAPES["conv"])
    model = onnx.load(compiled(run_stage, made).output("artifact") / "model.onnx")
    operations = {(node.domain, node.op_type) for node in model.graph.node}
    assert "BatchNormalization" not in {name for _, name in operations}
    assert not [domain for domain, name in operations if "nchwc" in domain or name.startswith("Reorder")]


def test_the_bytes_are_the_same_each_time_and_say_nothing_of_the_machine(run_stage: Any, tmp_path: Path) -> None:
    made = graphs.made_of(graphs.conv(tmp_path), tmp_path / "made", SHAPES["conv"])
    first, second = (compiled(run_stage, made).output("artifact") / "model.onnx" for _ in range(2))
    assert first.read_bytes() == second.read_bytes()
    assert str(tmp_path).encode() not in first.read_bytes()
    model = onnx.load(first)
    assert (model.producer_name, model.producer_version, model.doc_string) == ("modelspec", "", "")


def test_how_to_run_it_is_written_beside_it(run_stage: Any, tmp_path: Path) -> None:
    made = graphs.made_of(graphs.mlp(tmp_path), tmp_path / "made", SHAPES["mlp"])
    runtime = json.loads((compiled(run_stage, made).output("runtime") / "runtime.json").read_text())
    assert runtime["providers"] == ["CPUExecutionProvider"]
    assert runtime["session"]["graph_optimization_level"] == "all"
    assert runtime["file"] == "model.onnx"


def test_a_quantized_model_survives(run_stage: Any, tmp_path: Path) -> None:
    made = graphs.made_of(graphs.conv(tmp_path), tmp_path / "made", SHAPES["conv"])
    x = np.random.default_rng(2).normal(size=SHAPES["conv"]).astype(np.float32)
    method = Static(method="static", data="calibration")
    inputs = {"model": made["model"], "signature": made["signature"], "data": graphs.data(tmp_path / "data", x=x)}
    quantized = run_stage(Quantize(method=method), inputs).output("model")
    job = compiled(run_stage, {**made, "model": quantized}, INT8)
    kinds = {node.op_type for node in onnx.load(job.output("artifact") / "model.onnx").graph.node}
    assert kinds & {"QLinearConv", "QuantizeLinear"}


def test_an_artifact_that_answers_otherwise_is_refused(run_stage: Any, tmp_path: Path) -> None:
    class Wrong(Cpu):
        """A device whose compiler loses a weight."""

        def compile(self, model: Path, artifact: Path) -> dict[str, Any]:
            runtime = super().compile(model, artifact)
            proto = onnx_model.read(artifact / "model.onnx")
            for weight in proto.graph.initializer:
                weight.raw_data = bytes(len(weight.raw_data))
            onnx_model.write(proto, artifact / "model.onnx")
            return runtime

    made = graphs.made_of(graphs.mlp(tmp_path), tmp_path / "made", SHAPES["mlp"])
    for precision in ("fp32", "int8"):
        with pytest.raises(ModelspecError, match="MS515"):
            compiled(run_stage, made, Wrong.model_validate({"device": "cpu", "precision": precision}))


def golden(run_stage: Any, made: dict[str, Path], target: Cpu = FP32, **options: Any) -> Job:
    artifact = compiled(run_stage, made, target).output("artifact")
    inputs = {"artifact": artifact, "samples": made["samples"], "signature": made["signature"]}
    job: Job = run_stage(Golden(**options), inputs, target=target)
    return job


def test_golden_files_hold_a_few_rows_with_the_artifacts_answers(run_stage: Any, tmp_path: Path) -> None:
    made = graphs.made_of(graphs.mlp(tmp_path), tmp_path / "made", SHAPES["mlp"])
    job = golden(run_stage, made)
    inputs, outputs = (npz.read(job.output("golden") / f"{side}.npz") for side in ("inputs", "outputs"))
    assert inputs["x"].shape == (ROWS, 32)
    assert outputs["logits"].shape == (ROWS, 8)


def test_a_fixed_first_axis_is_kept_whole(run_stage: Any, tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"], name="relu")
    model = graphs.save(tmp_path, [node], {}, {"x": (6, 3)}, {"y": (6, 3)})
    job = golden(run_stage, graphs.made_of(model, tmp_path / "made", (6, 3)))
    assert npz.read(job.output("golden") / "inputs.npz")["x"].shape == (6, 3)


def test_a_float_artifact_must_equal_the_source(run_stage: Any, tmp_path: Path) -> None:
    made = graphs.made_of(graphs.mlp(tmp_path), tmp_path / "made", SHAPES["mlp"])
    answers = npz.read(made["samples"] / "outputs.npz")
    npz.write(made["samples"] / "outputs.npz", {"logits": answers["logits"] + 0.1})
    with pytest.raises(ModelspecError, match="MS503"):
        golden(run_stage, made)
    golden(run_stage, made, atol=0.2)
    golden(run_stage, made, INT8)


def test_answers_that_are_no_numbers_are_refused_in_any_precision(run_stage: Any, tmp_path: Path) -> None:
    made = graphs.made_of(graphs.elementwise(tmp_path), tmp_path / "made", SHAPES["elementwise"])
    nodes = [helper.make_node("Sqrt", ["x"], ["y"], name="root")]
    other = graphs.save(tmp_path / "other", nodes, {}, {"x": ("batch", 4)}, {"y": ("batch", 4)})
    for target in (FP32, INT8):
        with pytest.raises(ModelspecError, match="MS503"):
            golden(run_stage, {**made, "model": other}, target)


def test_weights_above_the_threshold_go_to_a_file_with_a_fixed_name(tmp_path: Path) -> None:
    model = onnx_model.read(graphs.mlp(tmp_path) / "model.onnx")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        onnx_model.write(model, tmp_path / name / "model.onnx", external_bytes=1000)
        assert sorted(p.name for p in (tmp_path / name).iterdir()) == ["model.onnx", "model.onnx.data"]
    for file in ("model.onnx", "model.onnx.data"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    x = {"x": np.ones((1, 32), np.float32)}
    expected = open_session(tmp_path / "model" / "model.onnx").run(x)["logits"]
    np.testing.assert_array_equal(open_session(tmp_path / "one" / "model.onnx").run(x)["logits"], expected)
