"""Arrays of a data set become inputs: by name, in order, without losing values."""

from typing import Any

import numpy as np
import pytest

from modelspec.errors import ModelspecError
from modelspec.feed import answered, batch_size, batches, feed, rows
from modelspec.signature import Signature, TensorSpec


def signature(**inputs: tuple[Any, tuple[int | str, ...]]) -> Signature:
    return Signature(inputs={name: TensorSpec(dtype=dtype, shape=shape) for name, (dtype, shape) in inputs.items()})


ONE = signature(image=("float32", ("batch", 2)))
TWO = signature(ids=("int64", ("batch", "time")), mask=("int64", ("batch", "time")))


def test_inputs_come_in_the_order_of_the_model() -> None:
    found = feed({"mask": np.ones((1, 2), int), "y": np.ones(1), "ids": np.zeros((1, 2), int)}, TWO, "y")
    assert list(found) == ["ids", "mask"]


def test_a_single_array_is_matched_by_position() -> None:
    assert feed({"features": np.ones((3, 2)), "y": np.ones(3)}, ONE, "y")["image"].dtype == np.float32


@pytest.mark.parametrize(("dtype", "array"), [
    ("float32", np.array([1.5], np.float64)), ("float32", np.array([3], np.int64)), ("int64", np.array([3], np.uint8)),
    ("uint8", np.array([255], np.int64)), ("int32", np.array([True])), ("float16", np.array([1.0], np.float32)),
    ("int64", np.array([3.0, -1.0])), ("uint8", np.array([255.0], np.float32)),
])  # fmt: skip
def test_casts_that_keep_the_meaning(dtype: Any, array: "np.ndarray[Any, Any]") -> None:
    found = feed({"x": array}, signature(x=(dtype, ("batch",))), None)["x"]
    assert found.dtype == np.dtype(dtype)
    assert found.tolist() == array.tolist()


@pytest.mark.parametrize(("dtype", "array"), [
    ("uint8", np.array([256])), ("uint8", np.array([256.0])), ("int64", np.array([np.nan])), ("int8", np.array([-129])), ("int64", np.array([1.5])), ("bool", np.array([2])),
    ("float32", np.array(["1"])), ("string", np.array([1])), ("float32", np.array([1j])),
])  # fmt: skip
def test_casts_that_lose_are_refused(dtype: Any, array: "np.ndarray[Any, Any]") -> None:
    with pytest.raises(ModelspecError) as caught:
        feed({"x": array}, signature(x=(dtype, ("batch",))), None)
    assert caught.value.diagnostics[0].code == "MS508"
    assert dtype in caught.value.diagnostics[0].message


@pytest.mark.parametrize(("arrays", "words"), [
    ({"ids": np.zeros((1, 2), int)}, "no array for the input 'mask'; it has 'ids'"),
    ({"ids": np.zeros((1, 2), int), "mask": np.zeros((1, 2), int), "more": np.zeros(1)}, "'more' matches no input of the model"),
    ({"ids": np.zeros((1, 2), int), "mask": np.zeros(1, int)}, "'mask' is int64 [batch, time], and the data is int64 [1]"),
])  # fmt: skip
def test_what_does_not_match_is_told(arrays: Any, words: str) -> None:
    with pytest.raises(ModelspecError) as caught:
        feed(arrays, TWO, None)
    assert words in caught.value.diagnostics[0].message


def test_a_fixed_axis_must_fit() -> None:
    with pytest.raises(ModelspecError, match="MS508"):
        feed({"x": np.ones((3, 5))}, ONE, None)


def test_text_becomes_what_the_runtime_takes() -> None:
    assert feed({"x": np.array(["a"])}, signature(x=("string", ("batch",))), None)["x"].dtype == object


def test_batches_cover_every_row_in_order() -> None:
    inputs = {"x": np.arange(7), "y": np.arange(7) * 2}
    assert [batch["x"].tolist() for batch in batches(inputs, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert rows(inputs) == 7


def test_a_fixed_number_of_samples_is_given_any_multiple_of_it() -> None:
    fixed = signature(x=("float32", (4, 2)))
    inputs = feed({"x": np.arange(24).reshape(12, 2)}, fixed, None)
    assert batch_size(fixed, 64) == 4
    assert batch_size(ONE, 64) == 64
    assert [len(batch["x"]) for batch in batches(inputs, batch_size(fixed, 64))] == [4, 4, 4]
    with pytest.raises(ModelspecError) as caught:
        feed({"x": np.zeros((6, 2))}, fixed, None)
    assert "give a multiple of them, for example samples: 4" in caught.value.diagnostics[0].help


def test_answers_are_joined_and_what_has_no_row_for_each_sample_is_left_out() -> None:
    def run(batch: Any) -> Any:
        return {"y": batch["x"] * 2, "mean": batch["x"].mean(), "state": np.zeros((3, 2))}

    found = answered(run, {"x": np.arange(10)}, 4)
    assert list(found) == ["y"]
    assert found["y"].tolist() == list(range(0, 20, 2))
