"""Ranges of activations: rounded outward, with zero in them, and alike for measurements that differ in the last digits."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from modelspec.quantization import Static
from modelspec.stages._quantize_ranges import STEP_BITS, outward
from modelspec.stages.quantize import Quantize
from tests.stages import graphs

ENDS = st.floats(-1e30, 1e30, allow_nan=False, allow_infinity=False)


@given(ENDS, ENDS)
def test_a_range_only_grows_and_holds_zero(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    rounded_low, rounded_high = outward(low, high)
    assert rounded_low <= min(low, 0.0)
    assert rounded_high >= max(high, 0.0)
    reach = max(-low, high, 0.0)
    most = 4 * reach * 2.0**-STEP_BITS
    assert min(low, 0.0) - rounded_low <= most
    assert rounded_high - max(high, 0.0) <= most


def test_an_end_at_zero_stays_and_nothing_is_made_of_nothing() -> None:
    assert outward(0.0, 3.0)[0] == 0.0
    assert outward(-3.0, 0.0)[1] == 0.0
    assert outward(0.0, 0.0) == (0.0, 0.0)
    assert outward(0.0, 5e-324) == (0.0, 5e-324)
    assert outward(-math.inf, 1.0) == (-math.inf, 1.0)
    assert outward(0.0, 3.4e38, 3.4028e38)[1] <= 3.4028e38


@given(st.floats(1e-6, 1e6), st.floats(-4e-7, 4e-7))
def test_round_numbers_are_far_from_an_edge(size: float, noise: float) -> None:
    """What saturates at a power of two, or at a whole number of steps, is the same with the noise of another CPU."""
    exact = 2.0 ** math.floor(math.log2(size))
    assert outward(-exact, exact) == outward(-exact * (1 + noise), exact * (1 + noise))


def test_noise_rarely_crosses_an_edge() -> None:
    random = np.random.default_rng(0)
    ends = random.normal(size=(20_000, 2)) * np.exp(random.normal(size=(20_000, 1)))
    crossed = sum(
        outward(min(pair), max(pair)) != outward(min(pair) * (1 + 4e-7), max(pair) * (1 + 4e-7))
        for pair in ends.tolist()
    )
    assert crossed < 20


@pytest.mark.parametrize("ranges", ["minmax", "entropy", "percentile"])
def test_weights_that_differ_in_the_last_digits_measure_the_same_ranges(
    ranges: Any, run_stage: Any, tmp_path: Path
) -> None:
    """As on a CPU that adds in another order; the scales of the weights themselves are not looked at."""
    scales = []
    for factor in (1.0, 1.0 + 3e-7):
        folder = tmp_path / str(factor)
        made = graphs.made_of(graphs.mlp(folder), folder / "made", (40, 32))
        model = onnx.load(made["model"] / "model.onnx")
        for weight in model.graph.initializer:
            array = numpy_helper.to_array(weight) * np.float32(factor)
            weight.CopyFrom(numpy_helper.from_array(array.astype(np.float32), weight.name))
        onnx.save(model, made["model"] / "model.onnx")
        x = np.random.default_rng(2).normal(size=(40, 32)).astype(np.float32)
        inputs = {name: made[name] for name in ("model", "signature")} | {"data": graphs.data(folder / "data", x=x)}
        job = run_stage(Quantize(method=Static(method="static", data="calibration", ranges=ranges)), inputs)
        made_model = onnx.load(job.output("model") / "model.onnx")
        scales.append({w.name: w.raw_data for w in made_model.graph.initializer if w.name[0] != "w"})
    assert len(scales[0]) >= 4
    assert scales[0] == scales[1]
