"""Measures the published model, and the source on the same data: what the gates limit."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from modelspec.class_names import as_named
from modelspec.errors import fail
from modelspec.metric import DEFAULT_MAX_DROP, DEFAULT_METRIC, METRICS, Direction, Gate, Task, direction
from modelspec.options import ENTRYPOINT, check_entrypoint, text
from modelspec.stage import Determinism, Job, Request, Stage, measured
from modelspec.stages import _metrics as compute

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from modelspec.signature import Signature

    Array = NDArray[Any]
    Arrays = Mapping[str, Array]

BATCH = 64
"""Samples at once: bounds the memory, whatever the size of the set."""


def _entrypoint_or_name(value: str) -> str:
    return check_entrypoint(value) if ":" in value else value


MetricName = Annotated[str, AfterValidator(_entrypoint_or_name), text(rf"^[^:]*$|{ENTRYPOINT}")]


class Evaluate(Stage):
    """artifact + data + reference -> metrics of the artifact and of the source."""

    name: ClassVar[str] = "evaluate"
    summary: ClassVar[str] = "measure the built model and the source on the same data, for the gates"
    revision: ClassVar[int] = 2
    after: ClassVar[tuple[str, ...]] = ("golden",)
    takes: ClassVar[tuple[str, ...]] = ("artifact", "signature")
    gives: ClassVar[tuple[str, ...]] = ("metrics",)
    parts: ClassVar[tuple[str, ...]] = ("target", "tokenizer", "classes")
    packages: ClassVar[tuple[str, ...]] = ("numpy", "scikit-learn")
    imports: ClassVar[tuple[str, ...]] = ("numpy", "sklearn.metrics")
    facts: ClassVar[tuple[str, ...]] = ("arch", "isa")
    determinism: ClassVar[Determinism] = Determinism.NUMERIC

    task: Task | None = Field(None, description="Kind of answers; told from the metrics.", examples=["classification"])
    data: str | None = Field(
        None,
        description="The data set to measure on; without one, gates hold for size and benchmark.",
        examples=["test"],
    )
    output: str | None = Field(None, description="The output to judge, if there are several.", examples=["logits"])
    metrics: tuple[MetricName, ...] = Field(
        (),
        description="Names of metrics, or user code as file.py:callable, which takes the labels and the outputs by name, and "
        "returns a number.",
        examples=[["accuracy", "f1_macro"], ["metrics.py:cost"]],
    )
    gates: tuple[Gate, ...] = Field(
        (),
        description="Limits on metrics; one that fails fails the build.",
        examples=[[{"metric": "accuracy", "min": 0.95}]],
    )

    def entrypoints(self) -> tuple[str, ...]:
        return tuple(metric for metric in self.metrics if ":" in metric)

    def keyed(self) -> dict[str, Any]:
        """Without the gates, whose change runs nothing again, and without the name of the data set."""
        value = super().keyed()
        return {**{k: v for k, v in value.items() if k not in {"gates", "data"}}, "task": self.told_task()}

    @classmethod
    def configure(cls, request: Request) -> "Evaluate | None":
        """Asked for where there are data; without them the block only holds gates."""
        block = request.blocks.get(cls.name)
        return block if block is not None and block.data is not None else None

    def inputs(self, request: Request) -> dict[str, str]:
        made = measured({"artifact": "artifact", "signature": "signature", **request.served}, request)
        return {**made, "data": f"data:{self.data}", "reference": f"reference:{self.data}"}

    def told_task(self) -> Task | None:
        """The task as written, else as told by the first metric or gate that belongs to one."""
        names = (*self.metrics, *(gate.metric for gate in self.gates))
        told = (METRICS[name].task for name in names if name in METRICS)
        return self.task or next((task for task in told if task), None)

    def measured(self) -> tuple[str, ...]:
        """What is measured: what is written, else the usual metric of the task."""
        task = self.told_task()
        return self.metrics or ((DEFAULT_METRIC[task],) if task else ())

    def direction(self, metric: str) -> Direction:
        """Which way a metric is better."""
        return direction(metric)

    def all_gates(self) -> tuple[Gate, ...]:
        """The written gates, and the default one where none of them says how much may be lost."""
        task = self.told_task()
        metric = DEFAULT_METRIC[task] if task and task != "regression" else None
        written = any(gate.metric == metric and gate.max_drop is not None for gate in self.gates)
        if metric is None or written or metric not in self.measured():
            return self.gates
        return (*self.gates, Gate(metric=metric, max_drop=DEFAULT_MAX_DROP))

    def run(self, job: Job) -> None:
        """Write every metric, of the artifact and of the source; one that is not a number is null, and fails its gate."""
        from modelspec.feed import answered, batch_size, read_inputs
        from modelspec.formats import npz
        from modelspec.signature import Signature

        signature = Signature.read(job.input("signature"))
        inputs, labels = read_inputs(job.input("data"), signature)
        size = batch_size(signature, BATCH)
        found = answered(job.open_session().run, inputs, size)
        self._require_rows(found, signature)
        if job.classes and labels is not None and any(array.dtype.kind in "OU" for array in found.values()):
            labels = as_named(labels, job.class_names)
        source = npz.read(job.input("reference") / "outputs.npz")
        task = self.told_task()
        assert task is not None, "the rules of the spec refuse an evaluation without a task"
        judged = compute.judged_output(found, self.output, task)
        _warn_of_no_numbers(job, judged, found[judged])
        code = job.input("code")
        value: dict[str, Any] = {
            "task": task,
            "samples": len(found[judged]),
            "batch": size,
            "metrics": {_short(n): _value(n, code, labels, found, source, judged) for n in self.measured()},
            "source": {_short(n): _value(n, code, labels, source, source, judged) for n in self.measured()},
        }
        assert job.target is not None
        if where := job.target.stands_in():
            value["measured_on"] = "cpu"
            job.warn(
                "MS564", f"{job.target.label}: {where}", help="measure it again on its device before it is relied on"
            )
        (job.output("metrics") / "evaluate.json").write_text(json.dumps(value, indent=2) + "\n")

    def _require_rows(self, found: "Arrays", signature: "Signature") -> None:
        if found and (self.output is None or self.output in found or self.output not in signature.outputs):
            return
        name = self.output or next(iter(signature.outputs))
        raise fail(
            "MS516",
            f"the output {name!r} has no row for each sample, so it cannot be judged",
            help="judge an output whose first axis is the sample",
            path=("output",),
        )


def _warn_of_no_numbers(job: Job, name: str, output: "Array") -> None:
    import numpy as np

    if output.dtype.kind != "f":
        return
    lost = int((~np.isfinite(output)).reshape(len(output), -1).any(axis=1).sum())
    if lost:
        job.warn(
            "MS555",
            f"{lost} of {len(output)} answers in {name!r} are no numbers, so most metrics of it have no value",
            help="look for missing or extreme values in the data set",
            path=("data",),
        )


def _short(metric: str) -> str:
    """The name under which a metric is reported: of user code, the callable's."""
    return metric.rpartition(":")[2]


def _value(
    name: str, code: Path, labels: "Array | None", found: "Arrays", source: "Arrays", judged: str
) -> float | None:
    """One metric; None where it is not a number."""
    if ":" in name:
        value: float | None = compute.user_metric(name, code, labels, found)
    else:
        value = compute.metric(name, labels, found, source, judged)
    return value if value is not None and math.isfinite(value) else None
