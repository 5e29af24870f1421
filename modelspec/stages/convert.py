"""Brings the source to ONNX, and compares the result with the source on real or generated inputs, always."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from modelspec.errors import ModelspecError, fail
from modelspec.framework import ExportOptions, Framework
from modelspec.options import Options
from modelspec.signature import Signature, TensorSpec
from modelspec.stage import Determinism, Job, Request, Stage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from modelspec.compare import Comparison
    from modelspec.formats.onnx_session import OnnxSession

    Arrays = Mapping[str, NDArray[Any]]


class Parity(Options):
    """How close the converted model must come to the source."""

    rtol: float = Field(1.0e-3, ge=0, description="Largest relative difference.", examples=[1.0e-3])
    atol: float = Field(1.0e-4, ge=0, description="Largest absolute difference.", examples=[1.0e-4])
    samples: int = Field(32, ge=1, description="Rows of data to compare on.", examples=[32])


class Convert(Stage):
    """source -> ONNX."""

    name: ClassVar[str] = "convert"
    summary: ClassVar[str] = "bring the source to ONNX and compare the two"
    revision: ClassVar[int] = 2
    after: ClassVar[tuple[str, ...]] = ("prune", "finetune")
    gives: ClassVar[tuple[str, ...]] = ("model", "signature", "samples", "metrics")
    publishes: ClassVar[Mapping[str, str]] = {"signature": ""}
    parts: ClassVar[tuple[str, ...]] = ("framework", "signature")
    packages: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxruntime")
    imports: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxruntime")
    facts: ClassVar[tuple[str, ...]] = ("arch", "isa")
    determinism: ClassVar[Determinism] = Determinism.NUMERIC

    opset: int | None = Field(None, ge=7, le=30, description="ONNX operator set to reach.", examples=[20])
    exporter: str | None = Field(
        None, description="Exporter of the framework to use.", examples=["dynamo", "torchscript"]
    )
    parity: Parity = Field(
        default_factory=Parity, description="How close to the source the result must come.", examples=[{"atol": 1.0e-4}]
    )

    @classmethod
    def configure(cls, request: Request) -> Self:
        """Always asked for."""
        return request.blocks.get(cls.name) or cls()

    def inputs(self, request: Request) -> dict[str, str]:
        """What pruning and training made of the source; and a sample of the data that the model is evaluated or calibrated
        on. Both if there are any."""
        dataset = request.sample
        found = {} if dataset is None else {"sample": f"sample:{dataset}"}
        is_changed = "prune" in request.blocks or "finetune" in request.blocks
        return {**found, "changes": "changes"} if is_changed else found

    def run(self, job: Job) -> None:
        """Write the model, its completed signature, and the sample inputs with the source's outputs."""
        from modelspec.compare import compare
        from modelspec.formats import npz, onnx_model

        framework = job.framework
        assert framework is not None
        source = framework.load(job.files)
        if job.has("changes"):
            source = framework.revive(source, job.input("changes"))
        signature = framework.signature(source, job.signature)
        inputs, expected = _samples(job, framework, source, signature)
        target = job.output("model") / "model.onnx"
        options = ExportOptions(self.opset, self.exporter)
        framework.export(source, signature, options, target)
        proto = onnx_model.read(target)
        if any(not value.type.tensor_type.HasField("shape") for value in proto.graph.output):
            onnx_model.fill_shapes(proto.graph.output, {name: _ranks(name, array) for name, array in expected.items()})
            onnx_model.write(proto, target)
        _check(target)
        found = _opened(target, framework).run(inputs)
        comparison = compare(expected, found, self.parity.rtol, self.parity.atol)
        if not comparison.ok:
            again = framework.run(source, signature, inputs)
            _require_steady(compare(expected, again, self.parity.rtol, self.parity.atol))
        self._require_parity(comparison)
        signature = _completed(signature, job.signature.outputs, onnx_model.signature_of(proto), inputs, expected)
        text = json.dumps(signature.as_lists(), indent=2) + "\n"
        (job.output("signature") / "signature.json").write_text(text)
        npz.write(job.output("samples") / "inputs.npz", inputs)
        npz.write(job.output("samples") / "outputs.npz", expected)
        self._write_metrics(job, onnx_model.opset(proto))

    def _require_parity(self, comparison: "Comparison") -> None:
        if comparison.missing:
            raise fail("MS503", f"the converted model lacks the output {comparison.missing[0]!r}")
        for output in comparison.outputs:
            if output.mismatched:
                within = f" (rtol {self.parity.rtol:g}, atol {self.parity.atol:g})" if output.numbers else ""
                harmless = "; or, if the difference is harmless, raise convert.parity" if output.numbers else ""
                raise fail(
                    "MS503",
                    output.words("the source") + within,
                    help=f"look for an operation that the exporter gets wrong{harmless}",
                )

    def _write_metrics(self, job: Job, opset: int) -> None:
        value = {
            "metrics": {},
            "opset": opset,
            "parity": {"passed": True, "rtol": self.parity.rtol, "atol": self.parity.atol},
        }
        (job.output("metrics") / "convert.json").write_text(json.dumps(value, indent=2) + "\n")


def _require_steady(comparison: "Comparison") -> None:
    if not comparison.ok:
        raise fail(
            "MS503",
            "the source itself gives another answer to the same input",
            why="something in it is random even in evaluation mode",
            help="find it; for example, give functional.dropout training=self.training",
        )


def _samples(
    job: Job, framework: Framework, source: Any, signature: Signature
) -> "tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]":
    """Inputs, and what the source answers to them. Raises MS514 when no generated input suits the source."""
    import numpy as np

    from modelspec.feed import batch_size, batches, read_inputs, rows
    from modelspec.generate import candidates

    if job.has("sample"):
        inputs, _ = read_inputs(job.input("sample"), signature)
        inputs = next(batches(inputs, batch_size(signature, max(1, rows(inputs)))))
        return inputs, framework.run(source, signature, inputs)
    first: ModelspecError | None = None
    numberless = None
    for made in candidates(signature):
        try:
            outputs = framework.run(source, signature, made)
        except ModelspecError as error:
            first = first or error
            continue
        if not any(array.dtype.kind == "f" and np.isnan(array).any() for array in outputs.values()):
            return made, outputs
        numberless = numberless or (made, outputs)
    if numberless is not None:
        return numberless
    assert first is not None, "there is always something to try"
    if first.diagnostics[0].code != "MS513":
        raise first
    raise fail(
        "MS514",
        f"the source refuses every generated input: {first.diagnostics[0].message}",
        help="give a range in the signature, or a data set that evaluate reads",
    )


def _opened(model: Path, framework: Framework) -> "OnnxSession":
    """The exported model in the runtime. Raises MS513 with what may help when the runtime refuses it."""
    from modelspec.formats.onnx_session import open_session

    try:
        return open_session(model)
    except ModelspecError as error:
        (problem,) = error.diagnostics
        choice = f", or another exporter ({', '.join(framework.exporters)})" if framework.exporters else ""
        fix = f"try float32 inputs in the signature, or another convert.opset{choice}"
        raise ModelspecError((problem.at(help=fix),)) from error


def _check(model: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(str(model))  # by its path: a message beyond 2 GiB cannot be handed over
    except onnx.checker.ValidationError as error:
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        raise fail(
            "MS505",
            f"the converted model is not valid ONNX: {lines[0] if lines else error}",
            help="export the model again, with another exporter or opset",
        ) from error


def _completed(
    signature: Signature, written: Mapping[str, TensorSpec], found: Signature, inputs: "Arrays", outputs: "Arrays"
) -> Signature:
    """The inputs with the outputs that came out: as `written` by the user where that is true, else as the ONNX file
    says, its untrue axes put right."""
    sizes = {
        axis: size
        for name, tensor in signature.inputs.items()
        for axis, size in zip(tensor.shape, inputs[name].shape, strict=True)
    }
    named = {}
    for name, tensor in found.outputs.items():
        if said := written.get(name):
            _require_agreement(name, said, tensor.dtype, outputs[name].shape, sizes)
        named[name] = said or _true(name, tensor, outputs[name])
    return Signature(inputs=signature.inputs or found.inputs, outputs=named)


def _true(name: str, tensor: TensorSpec, output: "NDArray[Any]") -> TensorSpec:
    own = _ranks(name, output)
    if len(tensor.shape) != output.ndim:
        return tensor.model_copy(update={"shape": own})
    axes = zip(tensor.shape, output.shape, own, strict=True)
    shape = tuple(axis if isinstance(axis, str) or axis == size else name_ for axis, size, name_ in axes)
    return tensor.model_copy(update={"shape": shape})


def _ranks(name: str, output: "NDArray[Any]") -> tuple[str, ...]:
    """As many axes as came out, each with a name of its own."""
    return tuple(f"{name}_{index}" for index in range(output.ndim))


def _require_agreement(
    name: str, said: TensorSpec, dtype: str, shape: tuple[int, ...], sizes: Mapping[int | str, int]
) -> None:
    """What the signature says of an output must be true of what came out. Raises MS507."""
    fits = len(said.shape) == len(shape) and all(
        (axis if isinstance(axis, int) else sizes.get(axis, size)) == size
        for axis, size in zip(said.shape, shape, strict=True)
    )
    if not fits or said.dtype != dtype:
        raise fail(
            "MS507",
            f"the output {name!r} is {dtype} {list(shape)} for the inputs tried, and the signature says "
            f"{said.dtype} [{', '.join(map(str, said.shape))}]",
            help="correct the signature, or leave its outputs out",
            path=("outputs", name),
        )
