"""Stores weights, and where it pays activations, as 8-bit integers."""

import json
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field

from modelspec.errors import ModelspecError, fail
from modelspec.quantization import Auto, Method
from modelspec.stage import Determinism, Job, Request, Stage
from modelspec.words import closest

if TYPE_CHECKING:
    from onnx import ModelProto

    from modelspec.stages._quantize_ort import Quantizer


class Quantize(Stage):
    """float model -> int8 model.

    Measured ranges are rounded, so that CPUs of other kinds make the same file; `numeric` all the same, since one that lies
    on the edge of a step may still fall on either side.
    """

    name: ClassVar[str] = "quantize"
    summary: ClassVar[str] = "store weights and activations as 8-bit integers"
    revision: ClassVar[int] = 3
    after: ClassVar[tuple[str, ...]] = ("convert",)
    takes: ClassVar[tuple[str, ...]] = ("model",)
    gives: ClassVar[tuple[str, ...]] = ("model", "metrics")
    packages: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxruntime")
    imports: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxruntime", "onnxruntime.quantization")
    facts: ClassVar[tuple[str, ...]] = ("arch", "isa")
    determinism: ClassVar[Determinism] = Determinism.NUMERIC
    block: ClassVar[Any] = dict[Literal["int8"], Method]

    precision: Literal["int8"] = Field("int8", description="The precision to reach.", examples=["int8"])
    method: Method = Field(
        default_factory=Auto, description="How the precision is reached.", examples=[{"method": "dynamic"}]
    )

    @classmethod
    def configure(cls, request: Request) -> Self | None:
        """Asked for by targets of an integer precision; their own options win over the block's."""
        target = request.target
        if target is None or target.chosen_precision != "int8":
            return None
        own = getattr(target, "quantize", None)
        return cls(method=own or request.blocks.get("quantize", {}).get("int8") or Auto())

    @classmethod
    def origin(cls, request: Request) -> tuple[str | int, ...]:
        if getattr(request.target, "quantize", None) is not None:
            return ("targets", request.index, "quantize")
        return ("quantize", "int8")

    def keyed(self) -> dict[str, Any]:
        """The options of the method, without the name of the data set."""
        return {name: value for name, value in self.method.model_dump(mode="json").items() if name != "data"}

    def inputs(self, request: Request) -> dict[str, str]:
        data = getattr(self.method, "data", None)
        given = {"model": "model"} if data is None else {"model": "model", "data": f"data:{data}"}
        return {**given, "signature": "signature"} if data is not None or self.method.sensitivity else given

    def run(self, job: Job) -> None:
        """Write the model, the choice of method with its reason, and how many nodes of each kind became integer."""
        from modelspec.formats import onnx_model
        from modelspec.formats.onnx_session import open_session
        from modelspec.stages import _quantize_choice as choice
        from modelspec.stages import _quantize_ort as ort

        source = job.input("model") / "model.onnx"
        model = onnx_model.read(source)
        graph = choice.survey(model)
        method, reason = choice.choose(self.method, graph, has_data=job.has("data"))
        for code, message, fix in choice.cautions(method, graph, chosen=method is not self.method):
            job.warn(code, message, help=fix, path=("method",))
        excluded = _excluded(model, self.method.exclude)
        target = job.output("model") / "model.onnx"
        inputs = ort.calibration_inputs(job.input("data"), job.input("signature")) if job.has("data") else None
        with TemporaryDirectory(dir=job.root) as folder:
            quantizer = ort.Quantizer(model, method, graph, inputs, Path(folder))
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
            _compare_sizes(job, source, target)
            value: dict[str, Any] = {"metrics": {}, "method": method.method, "reason": reason, "quantized": counts}
            if self.method.sensitivity:
                value["sensitivity"] = _sensitivity(job, model, quantizer, excluded)
        (job.output("metrics") / "quantize.json").write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def _sensitivity(
    job: Job, model: "ModelProto", quantizer: "Quantizer", excluded: list[str]
) -> list[dict[str, str | float | None]]:
    """The table of all nodes that are quantized, the one that hurts most first."""
    from modelspec.stages import _quantize_sensitivity as sensitivity
    from modelspec.stages._quantize_ort import calibration_inputs, signature_at

    if job.has("data"):
        calls = sensitivity.calls_of(*calibration_inputs(job.input("data"), job.input("signature")))
    else:
        signature = signature_at(job.input("signature"))
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


INTEGER_OPS = ("MatMulInteger", "ConvInteger", "DynamicQuantizeLSTM", "QLinearConv", "QLinearMatMul")


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


def _compare_sizes(job: Job, source: Path, target: Path) -> None:
    def size(path: Path) -> int:
        return sum(file.stat().st_size for file in path.parent.iterdir())

    if size(target) >= size(source):
        job.warn(
            "MS553",
            f"the quantized model has {size(target)} bytes, the float one {size(source)}",
            help="a model this small gains nothing from int8; use precision: fp32",
        )
