"""Which way of quantizing suits a graph. Measured: static int8 with the library's defaults ruins a transformer
(cosine 0.36), and dynamic int8 makes a convolutional network five times slower."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelspec.errors import fail
from modelspec.quantization import Auto, Dynamic, Static, Weights

if TYPE_CHECKING:
    from onnx import ModelProto

RECURRENT = ("LSTM", "GRU", "RNN")


@dataclass(frozen=True)
class Survey:
    """What a graph is made of: operations by kind, inside subgraphs too."""

    ops: Counter[str]

    @property
    def convolutions(self) -> int:
        return self.ops["Conv"] + self.ops["ConvTranspose"]

    @property
    def products(self) -> int:
        return self.ops["MatMul"] + self.ops["Gemm"]

    @property
    def is_transformer(self) -> bool:
        """Attention: softmax between matrix products, and layer normalization in either spelling."""
        normalizes = self.ops["LayerNormalization"] + self.ops["ReduceMean"] >= 2
        return self.ops["Softmax"] + self.ops["Attention"] > 0 and self.products >= 4 and normalizes


def survey(model: "ModelProto") -> Survey:
    """Count the operations of a graph and of the graphs inside it."""
    from modelspec.formats.onnx_model import graphs

    return Survey(Counter(node.op_type for graph in graphs(model) for node in graph.node))


def kinds(graph: Survey) -> str:
    """The most frequent operations, for messages."""
    return ", ".join(name for name, _ in graph.ops.most_common(4)) or "nothing"


def choose(
    asked: Dynamic | Static | Auto | Weights, graph: Survey, *, has_data: bool, symmetric: bool = False
) -> tuple[Dynamic | Static | Weights, str]:
    """The method to use and why. Raises MS522 when convolutions lack calibration data."""
    if not isinstance(asked, Auto):
        return asked, "asked for"
    if symmetric:
        return _static(
            asked, has_data, "an engine needs calibration data for int8"
        ), "an engine: static, without zero points"
    if graph.is_transformer:
        return _dynamic(asked), "a transformer: dynamic per channel keeps its accuracy"
    if graph.convolutions:
        return _static(
            asked, has_data, "a graph of convolutions needs calibration data to become int8"
        ), "convolutions: static, with measured ranges"
    return _dynamic(asked), "matrix products without convolutions: dynamic"


def _static(asked: Auto, has_data: bool, problem: str) -> Static:
    if not has_data or asked.data is None:
        raise fail(
            "MS522",
            problem,
            why="what cannot be measured has no range; and with ranges found at run time convolutions are several times slower",
            help="add quantize: {int8: {method: auto, data: calibration}} with a data set of inputs",
            path=("method",),
        )
    return Static(method="static", data=asked.data, exclude=asked.exclude)


def _dynamic(asked: Auto) -> Dynamic:
    return Dynamic(method="dynamic", exclude=asked.exclude)


def cautions(
    method: Dynamic | Static | Weights, graph: Survey, precision: str, *, chosen: bool
) -> list[tuple[str, str, str]]:
    """What is known to hurt, as (code, message, fix); a method chosen here needs none."""
    if chosen:
        return []
    if isinstance(method, Dynamic) and graph.convolutions:
        message = (
            f"dynamic quantization makes {graph.convolutions} convolutions slower than float (measured: five times)"
        )
        return [("MS551", message, "use method: static with calibration data")]
    if isinstance(method, Static) and graph.is_transformer:
        message = "static quantization of a transformer loses accuracy; only its matrix products are quantized"
        return [("MS552", message, "use method: dynamic")]
    if isinstance(method, Weights) and precision == "int8w" and method.activations == "float32":
        message = (
            "products of 8-bit weights and float activations are slow on a CPU (measured: 0.4 times the speed of fp32)"
        )
        return [("MS560", message, "add quantize: {int8w: {activations: int8}}, or use precision: int8")]
    return []
