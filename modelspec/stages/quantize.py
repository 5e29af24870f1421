"""Stores weights, and where it pays activations, as integers."""

import json
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field

from modelspec.errors import ModelspecError, fail
from modelspec.quantization import WEIGHT_BITS, AnyMethod, Auto, Dynamic, Precisions, Static, Weights
from modelspec.stage import Determinism, Job, Request, Stage
from modelspec.words import closest

if TYPE_CHECKING:
    from onnx import ModelProto

    from modelspec.stages._quantize_choice import Survey
    from modelspec.stages._quantize_ort import Quantizer
    from modelspec.stages._quantize_weights import WeightQuantizer


MUCH = 0.1
"""The share of a model's weights whose staying in float is worth a word."""


class Quantize(Stage):
    """float model -> integer model.

    Measured ranges are rounded, so that CPUs of other kinds make the same file; `numeric` all the same, since one that lies
    on the edge of a step may still fall on either side. Where only weights are quantized nothing is measured: `exact`.
    """

    name: ClassVar[str] = "quantize"
    summary: ClassVar[str] = "store weights, and activations where it pays, as integers"
    revision: ClassVar[int] = 3
    after: ClassVar[tuple[str, ...]] = ("convert",)
    takes: ClassVar[tuple[str, ...]] = ("model",)
    gives: ClassVar[tuple[str, ...]] = ("model", "metrics")
    packages: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxruntime")
    imports: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxruntime", "onnxruntime.quantization")
    facts: ClassVar[tuple[str, ...]] = ("arch", "isa")
    determinism: ClassVar[Determinism] = Determinism.NUMERIC
    block: ClassVar[Any] = Precisions

    precision: Literal["int8", "int4", "int8w"] = Field(
        "int8", description="The precision to reach.", examples=["int8"]
    )
    method: AnyMethod = Field(
        default_factory=Auto, description="How the precision is reached.", examples=[{"method": "dynamic"}]
    )

    @classmethod
    def configure(cls, request: Request) -> Self | None:
        """Asked for by targets of an integer precision; their own options win over the block's."""
        target = request.target
        if target is None or not target.chosen_precision.startswith("int"):
            return None
        precision = target.chosen_precision
        written = getattr(target, "quantize", None) or request.blocks.get("quantize", Precisions()).of(precision)
        method = written or (Weights() if precision in WEIGHT_BITS else Auto())
        return cls.model_validate({"precision": precision, "method": method})

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

    def promised(self) -> Determinism:
        return super().promised() if self._measures else Determinism.EXACT

    def depends_on(self) -> tuple[str, ...]:
        return super().depends_on() if self._measures else ("arch",)

    def keyed(self) -> dict[str, Any]:
        """The options of the method, without the name of the data set."""
        method = {name: value for name, value in self.method.model_dump(mode="json").items() if name != "data"}
        return {"precision": self.precision, **method}

    def inputs(self, request: Request) -> dict[str, str]:
        data = getattr(self.method, "data", None)
        given = {"model": "model"} if data is None else {"model": "model", "data": f"data:{data}"}
        return {**given, "signature": "signature"} if data is not None or self.method.sensitivity else given

    def run(self, job: Job) -> None:
        """Write the model, the choice of method with its reason, and how many nodes of each kind became integer."""
        from modelspec.formats import onnx_model
        from modelspec.formats.onnx_session import open_session
        from modelspec.stages import _quantize_choice as choice
        from modelspec.stages._quantize_weights import WeightQuantizer

        source = job.input("model") / "model.onnx"
        model = onnx_model.read(source)
        graph = choice.survey(model)
        excluded = _excluded(model, self.method.exclude)
        target = job.output("model") / "model.onnx"
        with TemporaryDirectory(dir=job.root) as folder:
            method, reason = choice.choose(self.method, graph, has_data=job.has("data"))
            for code, message, fix in choice.cautions(method, graph, self.precision, chosen=method is not self.method):
                job.warn(code, message, help=fix, path=("method",))
            quantizer = self._quantizer(job, model, method, graph, Path(folder))
            quantized = quantizer.quantized(excluded)
            counts = _counts(quantized)
            if not counts:
                raise fail(
                    "MS510",
                    f"nothing in this graph can become integer: it consists of {choice.kinds(graph)}",
                    help="use precision: fp32 for this target",
                )
            onnx_model.write(quantized, target)
            open_session(target)
            _compare_sizes(job, source, target, self.precision)
            value: dict[str, Any] = {"metrics": {}, "method": method.method, "reason": reason, "quantized": counts}
            if isinstance(quantizer, WeightQuantizer):
                value["left"] = _left(job, quantizer, excluded, self.precision)
            if self.method.sensitivity:
                value["sensitivity"] = _sensitivity(job, model, quantizer, excluded)
        (job.output("metrics") / "quantize.json").write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")

    def _quantizer(
        self, job: Job, model: "ModelProto", method: Dynamic | Static | Weights, graph: "Survey", folder: Path
    ) -> "Quantizer | WeightQuantizer":
        from modelspec.stages import _quantize_ort as ort
        from modelspec.stages._quantize_weights import WeightQuantizer

        if isinstance(method, Weights):
            return WeightQuantizer(model, method, WEIGHT_BITS[self.precision])
        inputs = ort.calibration_inputs(job.input("data"), job.input("signature")) if job.has("data") else None
        return ort.Quantizer(model, method, graph, inputs, folder)


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


def _excluded(model: "ModelProto", patterns: tuple[str, ...]) -> list[str]:
    """The nodes that the patterns name. Raises MS512 for a pattern that names none."""
    names = [node.name for node in model.graph.node]
    problems: list[ModelspecError] = []
    found: set[str] = set()
    for index, pattern in enumerate(patterns):
        matching = {name for name in names if name and fnmatchcase(name, pattern)}
        if not matching:
            near = closest(pattern, names)
            fix = f"did you mean {near!r}?" if near else f"some of its nodes: {', '.join(map(repr, names[:5]))}"
            problems.append(
                fail("MS512", f"no node of the graph is named {pattern!r}", help=fix, path=("exclude", index))
            )
        found |= matching
    if problems:
        raise ModelspecError(tuple(d for problem in problems for d in problem.diagnostics))
    return sorted(found)


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


def _compare_sizes(job: Job, source: Path, target: Path, precision: str) -> None:
    def size(path: Path) -> int:
        return sum(file.stat().st_size for file in path.parent.iterdir())

    if size(target) >= size(source):
        job.warn(
            "MS553",
            f"the quantized model has {size(target)} bytes, the float one {size(source)}",
            help=f"a model this small gains nothing from {precision}; use precision: fp32",
        )
