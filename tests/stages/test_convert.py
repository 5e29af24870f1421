"""Conversion of ONNX files: shapes that are missing or untrue, samples that say something, fixed numbers of samples."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from modelspec.errors import ModelspecError
from modelspec.formats import npz
from modelspec.formats.onnx_session import open_session
from modelspec.frameworks.onnx import Onnx
from modelspec.signature import Signature, TensorSpec
from modelspec.stage import Job
from modelspec.stages.benchmark import Benchmark
from modelspec.stages.compile import Compile
from modelspec.stages.convert import Convert
from modelspec.stages.evaluate import Evaluate
from modelspec.targets.cpu import Cpu
from tests.stages import graphs

ONNX = Onnx(framework="onnx", artifact="model.onnx")


def save(folder: Path, operation: str, x: Any, y: Any, **attributes: Any) -> Path:
    """One operation from x to y, whose shapes may be left out."""
    node = helper.make_node(operation, ["x"], ["y"], name="only", **attributes)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", x), ("y", y))]
    graph = helper.make_graph([node], "g", [values[0]], [values[1]])
    folder.mkdir()
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )
    return folder


def convert(run_stage: Any, artifact: Path, signature: Signature | None = None, **inputs: Path) -> Job:
    parts = {"framework": ONNX, "signature": signature or Signature()}
    job: Job = run_stage(Convert(), {"artifact": artifact, **inputs}, **parts)
    return job


def said(job: Job, side: str = "outputs") -> list[Any]:
    return [t["shape"] for t in json.loads((job.output("signature") / "signature.json").read_text())[side]]


@pytest.mark.parametrize(("shape", "expected"), [(None, ["y_0", "y_1"]), (["batch", 9], ["batch", "y_1"])])
def test_an_output_without_a_shape_or_with_an_untrue_one(
    run_stage: Any, tmp_path: Path, shape: Any, expected: list[str]
) -> None:
    job = convert(run_stage, save(tmp_path / "m", "Relu", ["batch", "n"], shape))
    assert said(job) == [expected]


def test_an_input_without_a_shape_takes_that_of_the_signature(run_stage: Any, tmp_path: Path) -> None:
    artifact = save(tmp_path / "m", "Relu", None, None)
    with pytest.raises(ModelspecError) as caught:
        convert(run_stage, artifact)
    assert caught.value.diagnostics[0].code == "MS514"
    assert "signature: {inputs: {x: {dtype: float32, shape: [batch, ...]}}}" in caught.value.diagnostics[0].help
    signature = Signature(inputs={"x": TensorSpec(dtype="float32", shape=("batch", 3))})
    job = convert(run_stage, artifact, signature)
    assert said(job, "inputs") == [["batch", 3]]
    dims = onnx.load(job.output("model") / "model.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["batch", 3]


def test_samples_are_such_that_the_source_answers_with_numbers(run_stage: Any, tmp_path: Path) -> None:
    """The logarithm of the random inputs, which come first, is not a number for half of them."""
    job = convert(run_stage, save(tmp_path / "m", "Log", ["batch", 3], ["batch", 3]))
    assert np.isfinite(npz.read(job.output("samples") / "outputs.npz")["y"]).all()


def test_a_fixed_number_of_samples_is_kept(run_stage: Any, tmp_path: Path) -> None:
    artifact = save(tmp_path / "m", "Relu", [2, 3], [2, 3])
    x = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    sample = graphs.data(tmp_path / "sample", x=x)
    job = convert(run_stage, artifact, sample=sample)
    assert npz.read(job.output("samples") / "inputs.npz")["x"].shape == (2, 3)
    target = Cpu(device="cpu")
    made = {name: job.output(name) for name in ("model", "signature", "samples")}
    compiled = run_stage(Compile(), {name: made[name] for name in ("model", "samples")}, target=target)
    inputs = {"artifact": compiled.output("artifact"), "signature": made["signature"]}
    with pytest.raises(ModelspecError, match="MS507 the model takes 2 samples at once, always, and not 3"):
        run_stage(Benchmark(batch=3), {**inputs, "samples": made["samples"]}, target=target)
    data = graphs.data(tmp_path / "data", "label", x=x, label=np.maximum(x, 0).argmax(axis=1))
    (tmp_path / "reference").mkdir()
    npz.write(tmp_path / "reference" / "outputs.npz", {"y": np.maximum(x, 0)})
    evaluated = run_stage(
        Evaluate(data="test", metrics=("accuracy",)),
        {**inputs, "data": data, "reference": tmp_path / "reference"},
        target=target,
    )
    found = json.loads((evaluated.output("metrics") / "evaluate.json").read_text())
    assert (found["samples"], found["batch"], found["metrics"]["accuracy"]) == (10, 2, 1.0)


def test_an_output_without_a_row_for_each_sample_is_not_judged(run_stage: Any, tmp_path: Path) -> None:
    artifact = save(tmp_path / "m", "ReduceMean", ["batch", 3], [], keepdims=0)
    x = np.ones((10, 3), np.float32)
    job = convert(run_stage, artifact, sample=graphs.data(tmp_path / "sample", x=x))
    assert open_session(job.output("model") / "model.onnx").run({"x": x})["y"].shape == ()
    data = graphs.data(tmp_path / "data", "label", x=x, label=np.zeros(10))
    (tmp_path / "reference").mkdir()
    npz.write(tmp_path / "reference" / "outputs.npz", {})
    inputs = {"artifact": job.output("model"), "signature": job.output("signature"), "data": data}
    with pytest.raises(ModelspecError, match="MS516 the output 'y' has no row for each sample"):
        run_stage(
            Evaluate(data="test", metrics=("accuracy",)),
            {**inputs, "reference": tmp_path / "reference"},
            target=Cpu(device="cpu"),
        )
