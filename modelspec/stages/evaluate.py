"""Measures the published model, and the source on the same data: what the gates limit."""

import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from modelspec.metric import DEFAULT_MAX_DROP, DEFAULT_METRIC, METRICS, Direction, Gate, Task
from modelspec.options import Entrypoint
from modelspec.stage import Determinism, Job, Request, Stage
from modelspec.stages import _metrics as compute

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 64
"""Samples at once: bounds the memory, whatever the size of the set."""


def _entrypoint_or_name(value: str) -> str:
    return _ENTRYPOINT(value) if ":" in value else value


_ENTRYPOINT: Callable[[str], str] = Entrypoint.__metadata__[0].func
MetricName = Annotated[str, AfterValidator(_entrypoint_or_name)]


class Evaluate(Stage):
    """artifact + data + reference -> metrics of the artifact and of the source."""

    name: ClassVar[str] = "evaluate"
    summary: ClassVar[str] = "measure the built model and the source on the same data, for the gates"
    revision: ClassVar[int] = 1
    after: ClassVar[tuple[str, ...]] = ("golden",)
    takes: ClassVar[tuple[str, ...]] = ("artifact", "signature")
    gives: ClassVar[tuple[str, ...]] = ("metrics",)
    parts: ClassVar[tuple[str, ...]] = ("target",)
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
        description="Names of metrics, or user code as file.py:callable, which takes the labels and the outputs.",
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
        made = {"artifact": "artifact", "signature": "signature"}
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
        """Which way a metric is better; a metric of the user's is better higher."""
        return METRICS[metric].better if metric in METRICS else "higher"

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
        import numpy as np

        from modelspec.feed import batches, read_inputs
        from modelspec.formats import npz
        from modelspec.signature import Signature

        target = job.target
        assert target is not None
        signature = Signature.from_lists(json.loads((job.input("signature") / "signature.json").read_text()))
        inputs, labels = read_inputs(job.input("data"), signature)
        session = target.open_session(job.input("artifact"))
        parts = [session.run(batch) for batch in batches(inputs, BATCH)]
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        source = npz.read(job.input("reference") / "outputs.npz")
        task = self.told_task()
        assert task is not None, "the rules of the spec refuse an evaluation without a task"
        judged = compute.judged_output(found, self.output, task)
        metrics: dict[str, float | None] = {}
        of_source: dict[str, float | None] = {}
        for name in self.measured():
            short = name.rpartition(":")[2]
            metrics[short] = self._value(job, name, labels, found, source, judged)
            of_source[short] = self._value(job, name, labels, source, source, judged)
        value = {"task": task, "samples": len(found[judged]), "metrics": metrics, "source": of_source}
        (job.output("metrics") / "evaluate.json").write_text(json.dumps(value, indent=2) + "\n")

    def _value(
        self,
        job: Job,
        name: str,
        labels: "NDArray[Any] | None",
        outputs: "dict[str, NDArray[Any]]",
        source: "dict[str, NDArray[Any]]",
        judged: str,
    ) -> float | None:
        if ":" in name:
            value = compute.user_metric(name, job.input("code"), labels, outputs)
        else:
            value = compute.metric(name, labels, outputs[judged], source[judged])
        return None if value is None or not math.isfinite(value) else float(value)
