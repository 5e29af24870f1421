"""The ranges of activations: measured on data, then rounded outward, so that most CPUs agree on them to the last bit.

Kernels for different instruction sets add in different orders, and what they measure differs by some 1e-7. Everything
else in a static quantization (weights, their scales, zero points, biases) follows from the ranges by exact arithmetic.
"""

import math
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from modelspec.quantization import Static

if TYPE_CHECKING:
    from numpy.typing import NDArray

CALIBRATION_BATCH = 8
"""Samples at once while ranges are measured: every intermediate tensor is held for one batch."""

STEP_BITS = 8
"""A step of rounding is 1/128 to 1/256 of a range's larger end. Measured: the accuracy of digits is the same from 4 bits
to 15, the cosine of MiniLM falls by 0.005 at 4, by 0.002 at 6, and from 8 on by no more than chance. Each bit less halves
the chance that two CPUs stand on two sides of an edge: with 8, one in 30,000 for each range in which they differ."""


def measure(source: Path, method: Static, ops: list[str], inputs: "dict[str, NDArray[Any]]", size: int) -> Any:
    """The rounded ranges by tensor, as the library's quantizer takes them. Those of the model's own inputs stay as
    they are: data is the same everywhere, and pixels between 0 and 1 keep the scale 1/255."""
    import numpy as np
    from onnxruntime.quantization import CalibrationMethod, create_calibrator
    from onnxruntime.quantization.calibrate import TensorData, TensorsData

    kinds = {"minmax": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy,
             "percentile": CalibrationMethod.Percentile}  # fmt: skip
    options = {"percentile": method.percentile} if method.ranges == "percentile" else {}
    with TemporaryDirectory(dir=source.parent) as folder:
        calibrator = create_calibrator(
            source, ops, str(Path(folder) / "augmented.onnx"), kinds[method.ranges], extra_options=options
        )
        for batch in _whole_batches(inputs, size):
            # One at a time, its ranges merged at once: otherwise the tensors of all batches are held together.
            calibrator.collect_data(_Reader(batch))
        measured = calibrator.compute_data()
    rounded = {}
    for name, found in measured.items():
        low, high = found.range_value
        if name not in inputs:
            ends = outward(low.item(), high.item(), float(np.finfo(low.dtype).max))
            low, high = (np.array(end, low.dtype) for end in ends)
        rounded[name] = TensorData(lowest=low, highest=high)
    return TensorsData(measured.calibration_method, rounded)


def outward(low: float, high: float, largest: float = math.inf) -> tuple[float, float]:
    """The range, and zero, which it must hold; each end outward to an odd number of half steps, at most to `largest`.

    Half steps, because values crowd at round numbers: what saturates at 1 is 1 on one CPU and 0.99999994 on another.
    An end at zero stays, as after ReLU. Both ends share the step: the last digits of a small end beside a large one are noise.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    reach = max(-low, high)
    if not sys.float_info.min <= reach < math.inf:  # of less than a normal number there is no part
        return low, high
    step = _step(reach)
    # Again, because an end just below a power of two moves above it, where steps are larger.
    step = _step(_moved(reach, step))
    return -min(_moved(-low, step), largest), min(_moved(high, step), largest)


def _step(reach: float) -> float:
    return math.ldexp(1.0, math.frexp(reach)[1] - STEP_BITS)


def _moved(size: float, step: float) -> float:
    return (math.ceil(size / step - 0.5) + 0.5) * step if size else 0.0


def _whole_batches(inputs: "dict[str, NDArray[Any]]", size: int) -> "list[dict[str, NDArray[Any]]]":
    from modelspec.feed import batches, rows

    count = rows(inputs)
    size = min(size, count)
    # Histograms need batches of one shape: what does not fill one is left out.
    whole = {name: array[: count - count % size] for name, array in inputs.items()}
    return list(batches(whole, size))


class _Reader:
    """One batch, in the form in which the library asks for data."""

    def __init__(self, batch: "dict[str, NDArray[Any]]") -> None:
        self._left = [batch]

    def get_next(self) -> "dict[str, NDArray[Any]] | None":
        """The batch, then None."""
        return self._left.pop() if self._left else None
