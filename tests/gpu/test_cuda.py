"""The CUDA provider on a GPU: it is used, it answers as the CPU does, and nothing falls back."""

from pathlib import Path

import numpy as np

from modelspec.formats.onnx_session import open_session
from modelspec.nvidia import Gpu
from modelspec.runtime.binding import Bound, Recorded
from tests.stages import graphs

PROVIDER = "CUDAExecutionProvider"


def test_answers_are_those_of_the_cpu(cuda: Gpu, tmp_path: Path) -> None:
    model = graphs.conv(tmp_path) / "model.onnx"
    x = {"x": np.random.default_rng(0).normal(size=(8, 1, 8, 8)).astype(np.float32)}
    expected = open_session(model).run(x)["logits"]
    found = open_session(model, provider=(PROVIDER, {"use_tf32": "0"})).run(x)["logits"]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_bound_and_recorded_calls_answer_alike(cuda: Gpu, tmp_path: Path) -> None:
    import onnxruntime

    model = graphs.mlp(tmp_path) / "model.onnx"
    plain = onnxruntime.InferenceSession(str(model), providers=[(PROVIDER, {"use_tf32": "0"})])
    graph = onnxruntime.InferenceSession(
        str(model), providers=[(PROVIDER, {"use_tf32": "0", "enable_cuda_graph": "1"})]
    )
    inputs = [{"x": np.random.default_rng(i).normal(size=(4, 32)).astype(np.float32)} for i in range(5)]
    outputs = {"logits": np.zeros((4, 8), np.float32)}
    bound, recorded = Bound(plain), Recorded(graph, inputs[0], outputs)
    for x in inputs:
        expected = plain.run(None, x)[0]
        np.testing.assert_allclose(bound.run(x)["logits"], expected, rtol=1e-5)
        np.testing.assert_allclose(recorded.run(x)["logits"], expected, rtol=1e-3, atol=1e-4)
