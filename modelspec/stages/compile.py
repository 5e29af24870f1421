"""Compiles the model for the target's device, and compares the result with what went in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from modelspec import toolchain
from modelspec.errors import ModelspecError, fail
from modelspec.stage import Determinism, Job, Request, Stage
from modelspec.target import Target

RTOL, ATOL = 1e-3, 1e-4
"""Fused kernels add in another order; more than this is a wrong graph."""


class Compile(Stage):
    """model -> artifact."""

    name: ClassVar[str] = "compile"
    summary: ClassVar[str] = "optimize the model for the device and compare it with its input"
    revision: ClassVar[int] = 1
    after: ClassVar[tuple[str, ...]] = ("convert", "quantize")
    takes: ClassVar[tuple[str, ...]] = ("model", "samples")
    gives: ClassVar[tuple[str, ...]] = ("artifact", "runtime", "metrics")
    publishes: ClassVar[Mapping[str, str]] = {"artifact": "", "runtime": ""}
    parts: ClassVar[tuple[str, ...]] = ("target",)
    packages: ClassVar[tuple[str, ...]] = ("numpy",)
    facts: ClassVar[tuple[str, ...]] = ("arch", "isa")
    determinism: ClassVar[Determinism] = Determinism.NUMERIC
    block: ClassVar[Any] = False

    is_engine: bool = False
    deferred: bool = False
    toolchain: tuple[str, ...] = ()
    hardware: tuple[str, ...] = ()

    @classmethod
    def configure(cls, request: Request) -> Self:
        """Always asked for."""
        target = request.target
        if target is None or not target.is_engine:
            return cls()
        if request.deferred:
            return cls(is_engine=True, deferred=True)
        return cls(is_engine=True, toolchain=target.toolchain, hardware=target.hardware)

    def promised(self) -> Determinism:
        engine = Determinism.EXACT if self.deferred else Determinism.RECORDED
        return engine if self.is_engine else super().promised()

    def distributions(self) -> tuple[str, ...]:
        return (*super().distributions(), *self.toolchain)

    def depends_on(self) -> tuple[str, ...]:
        return (*super().depends_on(), *self.hardware)

    def keyed(self) -> dict[str, Any]:
        """Only what the target does not say already."""
        return {"deferred": True} if self.deferred else {}

    @classmethod
    def origin(cls, request: Request) -> tuple[str | int, ...]:
        return ("targets",)

    def run(self, job: Job) -> None:
        """Write the artifact, how to run it, and its size in bytes."""
        target = job.target
        assert target is not None
        model, artifact = job.input("model") / "model.onnx", job.output("artifact")
        runtime = self._runtime(job, target, model, artifact)
        (job.output("runtime") / "runtime.json").write_text(json.dumps(runtime, indent=2, sort_keys=True) + "\n")
        size = sum(path.stat().st_size for path in artifact.rglob("*") if path.is_file())
        (job.output("metrics") / "compile.json").write_text(json.dumps({"metrics": {"size": size}}) + "\n")
        if self.deferred:
            lacks = target.lacking() or "what builds it"
            job.warn(
                "MS565", f"{target.label} is not built: here is not {lacks}", help="run modelspec finish where it is"
            )
        if target.measured == "artifact":
            self._compare(job, target, runtime)

    def _runtime(self, job: Job, target: Target, model: Path, artifact: Path) -> dict[str, Any]:
        if self.deferred:
            return target.defer(model, artifact)
        if job.has("timing_cache"):
            return target.replay(model, artifact, next(job.input("timing_cache").iterdir()))
        return target.compile(model, artifact)

    def _compare(self, job: Job, target: Target, runtime: Mapping[str, Any]) -> None:
        """Raise MS515 where the artifact does not answer as the model it is made of."""
        from modelspec.compare import compare
        from modelspec.formats import npz
        from modelspec.formats.onnx_session import open_session

        model, artifact = job.input("model") / "model.onnx", job.output("artifact")
        inputs = npz.read(job.input("samples") / "inputs.npz")
        expected, found = open_session(model).run(inputs), target.open_session(artifact).run(inputs)
        integer = target.chosen_precision.startswith("int")
        for output in compare(expected, found, RTOL, ATOL).outputs:
            # A quantized graph rounds: one step up or down is right, and is what `max_rel` cannot tell from an error.
            allowed = output.total * 0.02 if integer else 0
            if output.mismatched > allowed and not (
                integer and _within_steps(expected[output.name], found[output.name])
            ):
                raise _wrong(output.words("the model before it"), runtime)


def _wrong(what: str, runtime: Mapping[str, Any]) -> ModelspecError:
    """MS515, with its cause where that is the CPU."""
    needs = runtime.get("cpu", {}).get("needs", ())
    if needs and toolchain.lacks(toolchain.fact("isa"), needs):
        return fail(
            "MS515",
            f"on this CPU {what}",
            why="sums of 8-bit products saturate on x86-64 CPUs without VNNI",
            help="write reduce_range: true for its quantization",
        )
    return fail("MS515", f"after optimization {what}", help="report it: the runtime's optimizer is wrong here")


def _within_steps(expected: Any, found: Any) -> bool:
    """Whether every value is within a twentieth of the output's spread: a few steps of 8-bit rounding."""
    import numpy as np

    if expected.shape != found.shape or expected.dtype.kind != "f":
        return False
    spread = float(expected.max(initial=0.0) - expected.min(initial=0.0))
    return bool(np.abs(expected - found).max(initial=0.0) <= 0.05 * spread)
