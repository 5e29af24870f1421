"""Integers as engines take them: no zero points, biases in float, and what is sensitive left in float by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from modelspec.quantization import Auto
from modelspec.stage import Job
from modelspec.stages.quantize import Quantize
from tests.stages import graphs


def run(run_stage: Any, tmp_path: Path, graph: str, shape: tuple[int, ...]) -> Job:
    made = graphs.made_of(getattr(graphs, graph)(tmp_path), tmp_path / "made", shape)
    x = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    inputs = {"model": made["model"], "signature": made["signature"], "data": graphs.data(tmp_path / "data", x=x)}
    job: Job = run_stage(Quantize(method=Auto(data="data"), symmetric=True), inputs)
    return job


@pytest.mark.parametrize(("graph", "shape"), [("conv", (40, 1, 8, 8)), ("mlp", (40, 32)), ("attention", (40, 5, 16))])
def test_the_graph_is_one_that_the_parser_takes(
    run_stage: Any, tmp_path: Path, graph: str, shape: tuple[int, ...]
) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    file = run(run_stage, tmp_path, graph, shape).output("model") / "model.onnx"
    model = onnx.load(file)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    zeros = [constants[n.input[2]] for n in model.graph.node if n.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    assert zeros
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    logger = trt.Logger(trt.Logger.ERROR)  # the library keeps none of these alive
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(file))


def test_what_is_sensitive_stays_in_float_and_is_named(run_stage: Any, tmp_path: Path) -> None:
    job = run(run_stage, tmp_path, "planted", (40, 32))
    said = json.loads((job.output("metrics") / "quantize.json").read_text())
    assert [row["node"] for row in said["left_in_float"]] == ["middle"]
    assert said["quantized"] == {"MatMul": 2}
