"""The calls into onnxruntime.quantization, with the settings that measurements showed to be right."""

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelspec.errors import fail
from modelspec.quantization import Dynamic, Static
from modelspec.signature import Signature
from modelspec.stages._quantize_choice import Survey
from modelspec.stages._quantize_ranges import CALIBRATION_BATCH, measure

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

    Inputs = tuple[dict[str, NDArray[Any]], int]
    """The inputs, and how many samples of them to give at once."""

DYNAMIC_OPS = ("MatMul", "Gemm", "Conv", "LSTM", "Attention", "Gather")
"""Gather holds the embeddings: half of the weights of a small transformer."""

SYMMETRIC_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""What engines have integer kernels for; whatever lies between takes float, or what it is given."""
SYMMETRIC = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False, "DedicatedQDQPair": True}
"""The parsers of TensorRT refuse zero points, and biases of 32-bit integers."""

_FUSION = re.compile(r"/\w+Fusion(_token_\d+)?$")
"""What the library's preprocessing appends to the name of a node that it joins with its neighbour."""


class Quantizer:
    """One model and one way to quantize it: the whole of it, or only some nodes."""

    def __init__(
        self, model: "ModelProto", method: Dynamic | Static, graph: Survey, inputs: "Inputs | None", folder: Path,
        *, symmetric: bool = False,
    ) -> None:  # fmt: skip
        """Prepare the model; a static method measures its ranges on the inputs. `folder` is for files of its own.

        `symmetric`: as engines take it, with zero points that are all 0, and biases in float.
        """
        from modelspec.formats import onnx_model

        self._method, self._folder, self._symmetric = method, folder, symmetric
        source = folder / "source.onnx"
        onnx_model.write(model, source)
        with refusals(), _quiet():
            if isinstance(method, Dynamic):
                self._ops: tuple[str, ...] = DYNAMIC_OPS
                self._model = _inferred(source)
            else:
                assert inputs is not None, "a static method names its data"
                self._ops = SYMMETRIC_OPS if symmetric else _static_ops(graph)
                prepared = _prepared(source)
                self._ranges = measure(prepared, method, list(self._ops), *inputs)
                self._model = onnx_model.read(prepared)

    def nodes(self, excluded: Collection[str] = ()) -> list[str]:
        """The named nodes of a kind that the method quantizes, as the model calls them, but for those excluded."""
        found = (name_of(node.name) for node in self._model.graph.node if node.op_type in self._ops)
        return [name for name in dict.fromkeys(found) if name and name not in excluded]

    def quantized(self, excluded: Collection[str] = (), only: Collection[str] = ()) -> "ModelProto":
        """The model with all but the excluded nodes quantized, or only those named. Raises MS510 or MS511."""
        from modelspec.formats import onnx_model

        own = [node.name for node in self._model.graph.node]
        chosen = [name for name in own if name_of(name) in only] if only else []
        left = [name for name in own if name_of(name) in excluded]
        target = self._folder / "quantized.onnx"
        with refusals(), _quiet():
            make = self._dynamic if isinstance(self._method, Dynamic) else self._static
            quantizer = make(chosen, left)
            quantizer.quantize_model()
            quantizer.model.save_model_to_file(str(target))
        return onnx_model.read(target)

    def _dynamic(self, chosen: list[str], left: list[str]) -> Any:
        """As `quantize_dynamic` makes it, but from a model whose shapes are inferred once."""
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
        from onnxruntime.quantization.quant_utils import QuantizationMode, update_opset_version

        assert isinstance(self._method, Dynamic)
        model = update_opset_version(_copy(self._model), QuantType.QInt8)
        return ONNXQuantizer(
            model, self._method.per_channel, self._method.reduce_range, QuantizationMode.IntegerOps, False,
            QuantType.QInt8, QuantType.QUInt8, None, chosen, left, list(self._ops), _options(),
        )  # fmt: skip

    def _static(self, chosen: list[str], left: list[str]) -> Any:
        """As `quantize_static` makes it, but with the ranges rounded between measuring and use."""
        from onnxruntime.quantization import QDQQuantizer, QuantType

        assert isinstance(self._method, Static)
        unsigned = self._method.activations == "uint8" and not self._symmetric
        reduced = self._method.reduce_range and not self._symmetric
        return QDQQuantizer(
            _copy(self._model), self._method.per_channel, reduced, QuantType.QInt8,
            QuantType.QUInt8 if unsigned else QuantType.QInt8, self._ranges, chosen, left, list(self._ops),
            {**_options(), **(SYMMETRIC if self._symmetric else {})},
        )  # fmt: skip


def name_of(name: str) -> str:
    """The name that a node had before the library's preprocessing joined it with its neighbours."""
    while (shorter := _FUSION.sub("", name)) != name:
        name = shorter
    return name


def _copy(model: "ModelProto") -> "ModelProto":
    import onnx

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def _options() -> dict[str, Any]:
    import onnx

    return {"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT}


def _static_ops(graph: Survey) -> tuple[str, ...]:
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return ("MatMul", "Gemm") if graph.is_transformer else tuple(sorted({*QDQRegistry, *QLinearOpsRegistry}))


def calibration_inputs(data: Path, signature: Path) -> "Inputs":
    """The inputs of a data set, and how many samples of them to give at once."""
    from modelspec.feed import batch_size, read_inputs

    said = Signature.read(signature)
    inputs, _ = read_inputs(data, said)
    return inputs, batch_size(said, CALIBRATION_BATCH)


def _inferred(source: Path) -> "ModelProto":
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

    model: ModelProto = load_model_with_shape_infer(source)
    return model


def _prepared(source: Path) -> Path:
    """The file of the model with shapes inferred and batch normalization folded, as the library asks for."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from modelspec.formats import onnx_model

    target = source.with_name("prepared.onnx")
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
def refusals() -> Iterator[None]:
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
