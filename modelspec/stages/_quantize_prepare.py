"""The prepared graph of mixed precision: made, checked node by node, and tried."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelspec.quantization import Mixed
from modelspec.stage import Job
from modelspec.stages._quantize_nodes import matching_nodes

if TYPE_CHECKING:
    from onnx import ModelProto

SHOWN = 5
"""Reasons that a warning names."""


def mixed_model(job: Job, model: "ModelProto", method: Mixed, precision: str, folder: Path) -> dict[str, Any]:
    """Write the model; returns what stayed in fp32 and why. Raises MS580 where a node does not have the type it should."""
    from modelspec.formats import onnx_model
    from modelspec.formats.onnx_bfloat import open_rounded
    from modelspec.stages import _quantize_sensitivity as sensitivity
    from modelspec.stages._quantize_casts import plain
    from modelspec.stages._quantize_mixed import mixed, short_fall
    from modelspec.stages._quantize_ort import calibration_inputs
    from modelspec.stages._quantize_types import left_in_float

    if job.has("data"):
        calls = sensitivity.calls_of(*calibration_inputs(job.input("data"), job.input("signature")))
    else:
        calls = _generated(job, precision)
    model = plain(model)
    made = mixed(model, method, precision, matching_nodes(model, method.exclude), calls, folder)
    if wrong := left_in_float(made.model, precision, {kept.node for kept in made.kept}):
        raise short_fall(wrong, precision)
    target = job.output("model") / "model.onnx"
    onnx_model.write(made.model, target)
    open_rounded(target).run(calls[0])
    return {
        "metrics": {}, "method": "mixed", "reason": "asked for", "quantized": dict(made.counts),
        "measured_on": "data" if job.has("data") else "generated inputs", "left_in_float": [asdict(one) for one in made.kept],
    }  # fmt: skip


def _generated(job: Job, precision: str) -> "list[Any]":
    from modelspec.signature import Signature
    from modelspec.stages import _quantize_sensitivity as sensitivity

    if precision == "fp16":
        job.warn(
            "MS566",
            "the largest numbers are measured on generated inputs, which may be smaller than real ones",
            help="add quantize: {fp16: {method: mixed, data: calibration}} with a data set of inputs",
            path=("method",),
        )
    return sensitivity.generated_calls(job.input("model") / "model.onnx", Signature.read(job.input("signature")))
