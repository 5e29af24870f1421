"""Brings the graph to a precision: weights and activations as integers, or arithmetic of 16 bits."""

import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field

from modelspec.errors import fail
from modelspec.quantization import (
    WEIGHT_BITS,
    AnyMethod,
    Auto,
    Dynamic,
    Mixed,
    Precisions,
    Static,
    Weights,
    methods_for,
)
from modelspec.stage import Determinism, Job, Request, Stage
from modelspec.stages._quantize_nodes import matching_nodes
from modelspec.stages._quantize_prepare import mixed_model

if TYPE_CHECKING:
    from onnx import ModelProto

    from modelspec.stages._quantize_choice import Survey
    from modelspec.stages._quantize_ort import Quantizer
    from modelspec.stages._quantize_weights import WeightQuantizer


MUCH = 0.1
"""The share of a model's weights whose staying in float is worth a word."""
TOLERATED, SENSITIVE = 0.1, 0.05
"""How far the outputs may move as a whole before nodes are left in float, and by one node before it is left. Measured on
all-MiniLM-L6-v2 without zero points: cosine 0.855 with all 48 products as integers, 0.996 without the 11 above 0.05."""


class Quantize(Stage):
    """float model -> model of another precision.

    Measured ranges are rounded, so that CPUs of other kinds make the same file; `numeric` all the same, since one that lies
    on the edge of a step may still fall on either side. Where only weights are quantized nothing is measured: `exact`.
    """

    name: ClassVar[str] = "quantize"
    summary: ClassVar[str] = "bring the graph to its precision: integers, or 16 bits where that is safe"
    revision: ClassVar[int] = 3
    after: ClassVar[tuple[str, ...]] = ("convert",)
    takes: ClassVar[tuple[str, ...]] = ("model",)
    gives: ClassVar[tuple[str, ...]] = ("model", "metrics")
    packages: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxruntime")
    imports: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxruntime", "onnxruntime.quantization")
    facts: ClassVar[tuple[str, ...]] = ("arch", "isa")
    determinism: ClassVar[Determinism] = Determinism.NUMERIC
    block: ClassVar[Any] = Precisions

    precision: Literal["int8", "int4", "int8w", "fp16", "bf16"] = Field(
        "int8", description="The precision to reach.", examples=["int8"]
    )
    symmetric: bool = Field(
        False, description="Whether integers have no zero points, as engines take them.", examples=[True]
    )
    method: AnyMethod = Field(
        default_factory=Auto, description="How the precision is reached.", examples=[{"method": "dynamic"}]
    )

    @classmethod
    def configure(cls, request: Request) -> Self | None:
        """Asked for by targets of any precision but fp32; their own options win over the block's."""
        target = request.target
        if target is None or target.chosen_precision == "fp32":
            return None
        precision = target.chosen_precision
        written = getattr(target, "quantize", None) or request.blocks.get("quantize", Precisions()).of(precision)
        method = written or methods_for(precision)[-1]()
        return cls.model_validate({"precision": precision, "method": method, "symmetric": target.symmetric})

    @classmethod
    def origin(cls, request: Request) -> tuple[str | int, ...]:
        if getattr(request.target, "quantize", None) is not None:
            return ("targets", request.index, "quantize")
        precision = "int8" if request.target is None else request.target.chosen_precision
        return ("quantize", precision)

    @property
    def _measures(self) -> bool:
        """Whether models run here, so that the instruction set may tell."""
        return not isinstance(self.method, Weights) or self.method.sensitivity

    @property
    def _ranks(self) -> bool:
        """Whether it is measured what each node does to the outputs."""
        return not isinstance(self.method, Mixed) and self.method.sensitivity

    def promised(self) -> Determinism:
        return super().promised() if self._measures else Determinism.EXACT

    def depends_on(self) -> tuple[str, ...]:
        return super().depends_on() if self._measures else ("arch",)

    def keyed(self) -> dict[str, Any]:
        """The options of the method, without the name of the data set."""
        method = {name: value for name, value in self.method.model_dump(mode="json").items() if name != "data"}
        # Only where it says something: the keys of other targets stay as they are.
        return {"precision": self.precision, **method, **({"symmetric": True} if self.symmetric else {})}

    def inputs(self, request: Request) -> dict[str, str]:
        data = getattr(self.method, "data", None)
        given = {"model": "model"} if data is None else {"model": "model", "data": f"data:{data}"}
        reads = data is not None or self._ranks or isinstance(self.method, Mixed)
        return {**given, "signature": "signature"} if reads else given

    def run(self, job: Job) -> None:
        """Write the model, the choice of method with its reason, and how many nodes of each kind changed."""
        from modelspec.formats import onnx_model

        model = onnx_model.read(job.input("model") / "model.onnx")
        with TemporaryDirectory(dir=job.root) as folder:
            if isinstance(self.method, Mixed):
                value = mixed_model(job, model, self.method, self.precision, Path(folder))
            else:
                value = self._integers(job, model, self.method, Path(folder))
        _compare_sizes(job, self.precision)
        (job.output("metrics") / "quantize.json").write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")

    def _integers(
        self, job: Job, model: "ModelProto", asked: Dynamic | Static | Auto | Weights, folder: Path
    ) -> dict[str, Any]:
        from modelspec.formats import onnx_model
        from modelspec.formats.onnx_session import open_session
        from modelspec.stages import _quantize_choice as choice
        from modelspec.stages._quantize_weights import WeightQuantizer

        graph = choice.survey(model)
        excluded = matching_nodes(model, asked.exclude)
        method, reason = choice.choose(asked, graph, has_data=job.has("data"), symmetric=self.symmetric)
        for code, message, fix in choice.cautions(method, graph, self.precision, chosen=method is not asked):
            job.warn(code, message, help=fix, path=("method",))
        quantizer = self._quantizer(job, model, method, graph, folder)
        sensitive = self._sensitive(job, model, quantizer, excluded)
        quantized = quantizer.quantized([*excluded, *(row["node"] for row in sensitive)])
        counts = _counts(quantized)
        if not counts:
            raise fail(
                "MS510",
                f"nothing in this graph can become integer: it consists of {choice.kinds(graph)}",
                help="use precision: fp32 for this target",
            )
        onnx_model.write(quantized, job.output("model") / "model.onnx")
        open_session(job.output("model") / "model.onnx")
        value: dict[str, Any] = {"metrics": {}, "method": method.method, "reason": reason, "quantized": counts}
        if isinstance(quantizer, WeightQuantizer):
            value["left"] = _left(job, quantizer, excluded, self.precision)
        if sensitive:
            value["left_in_float"] = sensitive
        if asked.sensitivity:
            value["sensitivity"] = _sensitivity(job, model, quantizer, excluded)
        return value

    def _sensitive(
        self, job: Job, model: "ModelProto", quantizer: "Quantizer | WeightQuantizer", excluded: list[str]
    ) -> list[dict[str, Any]]:
        """The nodes to leave in float, where that is for us to find: integers without zero points, chosen here."""
        from modelspec.stages import _quantize_sensitivity as sensitivity
        from modelspec.stages._quantize_ort import calibration_inputs

        if not self.symmetric or not isinstance(self.method, Auto):
            return []
        calls = sensitivity.calls_of(*calibration_inputs(job.input("data"), job.input("signature")))
        whole = sensitivity.moved(model, quantizer.quantized(excluded), calls)
        if whole is not None and whole <= TOLERATED:
            return []
        rows = _sensitivity(job, model, quantizer, excluded)
        return [row for row in rows if row["error"] is None or float(row["error"]) > SENSITIVE]

    def _quantizer(
        self, job: Job, model: "ModelProto", method: Dynamic | Static | Weights, graph: "Survey", folder: Path
    ) -> "Quantizer | WeightQuantizer":
        from modelspec.stages import _quantize_ort as ort
        from modelspec.stages._quantize_weights import WeightQuantizer

        if isinstance(method, Weights):
            return WeightQuantizer(model, method, WEIGHT_BITS[self.precision])
        inputs = ort.calibration_inputs(job.input("data"), job.input("signature")) if job.has("data") else None
        return ort.Quantizer(model, method, graph, inputs, folder, symmetric=self.symmetric)


def _left(job: Job, quantizer: "WeightQuantizer", excluded: list[str], precision: str) -> dict[str, int]:
    """The kinds of nodes whose weights stay in float, with a warning where they hold much of the model."""
    kinds, share = quantizer.left(excluded)
    if share > MUCH:
        names = ", ".join(kind for kind, _ in kinds.most_common())
        job.warn(
            "MS556",
            f"{share:.0%} of the weights stay in float: {precision} is for matrix products, and {names} is none",
            help="use precision: int8, which takes them too",
        )
    return dict(kinds)


def _sensitivity(
    job: Job, model: "ModelProto", quantizer: "Quantizer | WeightQuantizer", excluded: list[str]
) -> list[dict[str, str | float | None]]:
    """The table of all nodes that are quantized, the one that hurts most first."""
    from modelspec.signature import Signature
    from modelspec.stages import _quantize_sensitivity as sensitivity
    from modelspec.stages._quantize_ort import calibration_inputs

    if job.has("data"):
        calls = sensitivity.calls_of(*calibration_inputs(job.input("data"), job.input("signature")))
    else:
        signature = Signature.read(job.input("signature"))
        calls = sensitivity.generated_calls(job.input("model") / "model.onnx", signature)
    rows = sensitivity.rank(
        model, quantizer.nodes(excluded), lambda node: quantizer.quantized(excluded, only=[node]), calls
    )
    return [asdict(row) for row in rows]


INTEGER_OPS = ("MatMulNBits", "MatMulInteger", "ConvInteger", "DynamicQuantizeLSTM", "QLinearConv", "QLinearMatMul")


def _counts(model: "ModelProto") -> dict[str, int]:
    """Integer operations, and float ones that stand between quantize and dequantize nodes, by kind."""
    makers = {output: node for node in model.graph.node for output in node.output}
    counts: dict[str, int] = {}
    for node in model.graph.node:
        sources = [makers[name].op_type for name in node.input[:2] if name in makers]
        between = len(sources) == 2 and set(sources) == {"DequantizeLinear"}
        if node.op_type in INTEGER_OPS or between:
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return counts


def _compare_sizes(job: Job, precision: str) -> None:
    source, target = (sum(file.stat().st_size for file in slot.iterdir()) for slot in (job.input("model"), job.output("model")))  # fmt: skip
    if target >= source:
        job.warn(
            "MS553",
            f"the model at {precision} has {target} bytes, the float one {source}",
            help=f"a model this small gains nothing from {precision}; use precision: fp32",
        )
