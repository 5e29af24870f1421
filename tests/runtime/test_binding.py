"""Providers and bindings: what is not used is an error, and bound calls answer as plain ones do, from several threads too."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from modelspec.runtime import artifact
from modelspec.runtime.binding import Recorded
from modelspec.runtime.errors import ENVIRONMENT, ServeError
from modelspec.runtime.model import Model
from tests.runtime.conftest import Start


def change(folder: Path, **values: object) -> None:
    runtime = json.loads((folder / "runtime.json").read_text())
    (folder / "runtime.json").write_text(json.dumps({**runtime, **values}))


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="the provider is here")
def test_a_fall_back_to_the_cpu_is_an_error(folder: Path, start: Start) -> None:
    change(folder, providers=[["CUDAExecutionProvider", {"device_id": "0"}]])
    with pytest.raises(ServeError, match="has no CUDAExecutionProvider; it would fall back to the CPU") as error:
        Model(artifact.read(folder))
    assert error.value.exit == ENVIRONMENT
    server = start(folder, ready=False)
    assert server.process.wait(20) == ENVIRONMENT


def test_bound_calls_answer_alike(folder: Path) -> None:
    plain = Model(artifact.read(folder))
    change(folder, io_binding=True, providers=[["CPUExecutionProvider", {}]])
    bound = Model(artifact.read(folder))
    bound.check_golden()
    for rows in (1, 3, 2):
        x = {"x": np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)}
        np.testing.assert_array_equal(bound.run(x)["y"], plain.run(x)["y"])


def test_tensors_at_fixed_places_are_not_shared_between_calls(folder: Path) -> None:
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    recorded = Recorded(session, {"x": np.zeros((2, 3), np.float32)}, {"y": np.zeros((2, 3), np.float32)})
    inputs = [np.full((2, 3), number, np.float32) for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda x: recorded.run({"x": x})["y"], inputs))
    for x, y in zip(inputs, answers, strict=True):
        np.testing.assert_array_equal(y, 2 * x + 1)
