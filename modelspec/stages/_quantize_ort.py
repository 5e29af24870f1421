"""The calls into onnxruntime.quantization, with the settings that measurements showed to be right."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from modelspec.errors import fail
from modelspec.quantization import Dynamic, Static
from modelspec.signature import Signature
from modelspec.stage import Job
from modelspec.stages._quantize_choice import Survey
from modelspec.stages._quantize_ranges import CALIBRATION_BATCH, measure

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto


def quantize(
    model: "ModelProto", method: Dynamic | Static, graph: Survey, excluded: list[str], job: Job, target: Path
) -> "ModelProto":
    """The quantized model; `target` is a file to write through. Raises MS510 or MS511."""
    from modelspec.formats import onnx_model

    with _refusals(), _quiet():
        if isinstance(method, Dynamic):
            _dynamic(job.input("model") / "model.onnx", method, excluded, target)
        else:
            _static(model, method, graph, excluded, job, target)
    return onnx_model.read(target)


def _dynamic(source: Path, method: Dynamic, excluded: list[str], target: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        target,
        per_channel=method.per_channel,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=excluded,
        # Gather holds the embeddings: half of the weights of a small transformer.
        op_types_to_quantize=["MatMul", "Gemm", "Conv", "LSTM", "Attention", "Gather"],
        extra_options={"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
    )


def _static(model: "ModelProto", method: Static, graph: Survey, excluded: list[str], job: Job, target: Path) -> None:
    """As `quantize_static` does it, but with the ranges rounded between measuring and use."""
    import onnx
    from onnxruntime.quantization import QDQQuantizer, QuantType
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    from modelspec.formats import onnx_model

    ops = ["MatMul", "Gemm"] if graph.is_transformer else sorted({*QDQRegistry, *QLinearOpsRegistry})
    with TemporaryDirectory(dir=job.root) as folder:
        prepared = _prepared(model, Path(folder))
        quantizer = QDQQuantizer(
            onnx_model.read(prepared),
            method.per_channel,
            False,
            QuantType.QInt8,
            QuantType.QUInt8 if method.activations == "uint8" else QuantType.QInt8,
            measure(prepared, method, ops, *_calibration_inputs(job)),
            [],
            excluded,
            ops,
            {"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        quantizer.quantize_model()
    quantizer.model.save_model_to_file(str(target))


def _calibration_inputs(job: Job) -> "tuple[dict[str, NDArray[Any]], int]":
    """The inputs, and how many samples of them to give at once."""
    import json

    from modelspec.feed import batch_size, read_inputs

    signature = Signature.from_lists(json.loads((job.input("signature") / "signature.json").read_text()))
    inputs, _ = read_inputs(job.input("data"), signature)
    return inputs, batch_size(signature, CALIBRATION_BATCH)


def _prepared(model: "ModelProto", folder: Path) -> Path:
    """The file of the model with shapes inferred and batch normalization folded, as the library asks for."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from modelspec.formats import onnx_model

    source, target = folder / "in.onnx", folder / "prepared.onnx"
    onnx_model.write(model, source)
    # The library's symbolic inference fails on models of torch's exporter, and needs sympy.
    quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
    prepared = onnx_model.read(target)
    _flatten_biases(prepared)
    onnx_model.write(prepared, target)
    return target


def _flatten_biases(model: "ModelProto") -> None:
    """The library takes the bias of a Gemm for a vector; in networks of scikit-learn it is a row, [1, n]."""
    uses = Counter(name for node in model.graph.node for name in node.input)
    rows = {w.name: w for w in model.graph.initializer if len(w.dims) == 2 and w.dims[0] == 1}
    for node in model.graph.node:
        bias = rows.get(node.input[2]) if node.op_type == "Gemm" and len(node.input) == 3 else None
        if bias is not None and uses[bias.name] == 1:
            del bias.dims[0]


@contextmanager
def _refusals() -> Iterator[None]:
    """The library's refusals as messages with a code."""
    try:
        yield
    except (ValueError, RuntimeError, AssertionError, NotImplementedError, IndexError, KeyError, TypeError) as error:
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if "proper ai.onnx domain" in text:
            raise fail(
                "MS510",
                "nothing in this graph can become integer: it has no operation of the ai.onnx domain",
                help="use precision: fp32 for this target",
            ) from error
        raise fail(
            "MS511", f"the model cannot be quantized: {text}", help="try another method, or exclude the nodes at fault"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """The library recommends its preprocessing on the root logger even after it was done."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
