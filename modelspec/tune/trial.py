"""One trial: the spec with other values, built as any spec is, and measured on the data set of tune."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

from modelspec import registry
from modelspec.build import Asked, Prepared, build
from modelspec.errors import Diagnostic, Exit, ModelspecError
from modelspec.execute.events import Event
from modelspec.execute.execute import Settings
from modelspec.figures import Figures
from modelspec.gates import GateResult
from modelspec.metric import METRICS, direction
from modelspec.spec.edit import edited
from modelspec.spec.load import Loaded, load
from modelspec.spec.positions import Place
from modelspec.spec.tune import Tune
from modelspec.spec.tune_rules import chosen_target


class State(StrEnum):
    """How a trial ended."""

    PASSED = "passed"
    FAILED = "failed"
    """Built, and not good enough."""
    REFUSED = "refused"
    """The values do not go together: what `validate` would say."""
    BROKEN = "broken"
    """A stage failed."""


@dataclass(frozen=True)
class Trial:
    """What was tried and what came of it."""

    number: int
    changes: Mapping[Place, Any]
    text: bytes
    """The spec that was built."""
    figures: Figures = field(default_factory=Figures)
    gates: tuple[GateResult, ...] = ()
    problems: tuple[Diagnostic, ...] = ()
    ran: int = 0
    cached: int = 0

    @property
    def state(self) -> State:
        if self.problems:
            return State.REFUSED if {problem.exit for problem in self.problems} == {Exit.SPEC} else State.BROKEN
        return State.PASSED if all(gate.passed for gate in self.gates) else State.FAILED

    @property
    def is_measured(self) -> bool:
        """Whether it was built."""
        return not self.problems

    @cached_property
    def shortfall(self) -> float:
        """By how much the gates are missed, as shares of their limits; 0 where all pass."""
        return sum(_missed(gate) for gate in self.gates if not gate.passed)

    def metric(self, name: str) -> float | None:
        """A figure of the built model."""
        return self.figures.metrics.get(name)


def _missed(gate: GateResult) -> float:
    if gate.value is None or (gate.kind == "max_drop" and gate.source is None):
        return inf
    if gate.kind == "max_drop":
        source = gate.source or 0.0
        drop = source - gate.value if direction(gate.metric) == "higher" else gate.value - source
        return (drop - gate.limit) / (abs(source) or 1.0)
    over = gate.limit - gate.value if gate.kind == "min" else gate.value - gate.limit
    return over / (abs(gate.limit) or 1.0)


@dataclass(frozen=True)
class Bench:
    """What all trials of one search share."""

    file: Path
    raw: bytes
    """The spec as it is written."""
    cache: Path
    settings: Settings
    tune: Tune
    on_event: Callable[[Event], None]
    on_prepared: Callable[[Prepared], None]

    def run(self, number: int, changes: Mapping[Place, Any]) -> Trial:
        """Build the spec with the changes. Raises what is no fault of the values: of the environment, or of integrity."""
        trial = Trial(number, dict(changes), self.raw)
        try:
            trial = replace(trial, text=edited(self.raw, changes))
            loaded = load(self.file, text=trial.text)
            label = loaded.spec.targets[chosen_target(loaded.spec)].label
            asked = Asked(
                *(self.file, self.cache, None, (label,)),
                settings=replace(self.settings, is_trial=True),
                judged=False,
                loaded=self.judged_by_own_data(loaded, label),
            )
            done = build(asked, self.on_prepared, self.on_event)
        except ModelspecError as error:
            if error.exit not in {Exit.SPEC, Exit.STAGE}:
                raise
            problems = tuple(problem for problem in error.diagnostics if problem.severity == "error")
            return replace(trial, problems=problems)
        return replace(trial, figures=done.figures[label], gates=done.gates, ran=done.ran, cached=done.cached)

    def judged_by_own_data(self, loaded: Loaded, label: str) -> Loaded:
        """The spec that is evaluated on the data of tune, and measures nothing that no one asks for."""
        spec = loaded.spec
        evaluate = spec.blocks["evaluate"]
        update: dict[str, Any] = {"tune": None}
        # What waits for the gates says nothing about a trial.
        update |= {name: None for name, kind in registry.stages().items() if kind.gated and name in spec.blocks}
        if self.tune.data is not None:
            update["evaluate"] = evaluate.model_copy(update={"data": self.tune.data})
        asked = {gate.metric for gate in evaluate.all_gates() if gate.targets is None or label in gate.targets}
        if not any(METRICS[name].made_by == "benchmark" for name in asked | {self.tune.objective} if name in METRICS):
            update["benchmark"] = None
        return replace(loaded, spec=spec.model_copy(update=update))
