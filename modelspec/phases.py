"""Runs a plan in two phases: what the gates judge; then, where all of them passed, what waits for them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from modelspec import gates, tokenizer
from modelspec.errors import Diagnostic, ModelspecError, fail
from modelspec.execute.events import Cached, Event, Failed, Finished, Warned
from modelspec.execute.execute import Settings, execute
from modelspec.execute.problems import placed
from modelspec.figures import Figures
from modelspec.framework import Framework
from modelspec.plan import Action, Plan
from modelspec.resolve import Resolved
from modelspec.spec.load import Loaded
from modelspec.store.record import Record
from modelspec.store.store import Store
from modelspec.words import meant


@dataclass
class Ran:
    """What came of a plan: the records of its actions, which of them ran, and what is to be said of the machine."""

    records: dict[str, Record] = field(default_factory=dict)
    ran: set[str] = field(default_factory=set)
    warned: list[Diagnostic] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """A plan, and where and how it runs."""

    plan: Plan
    resolved: Resolved
    store: Store
    settings: Settings
    judged: bool
    """Whether a failed gate keeps the second phase from running."""

    def before_gates(self, on_event: Callable[[Event], None]) -> Ran:
        """Run what the gates judge, where something waits for them. Raises ModelspecError where an action or a gate
        fails, and BlobLostError.
        """
        done = Ran()
        if self.plan.has_gated:
            self._phase(self.plan.before_gates(), done, on_event)
            if self.judged:
                require_passed(self.plan, self.resolved, done.records, self.store)
        return done

    def rest(self, done: Ran, on_event: Callable[[Event], None]) -> None:
        """Run what is not done. Raises ModelspecError where an action fails, and BlobLostError."""
        self._phase(self.plan, done, on_event)

    def _phase(self, plan: Plan, done: Ran, on_event: Callable[[Event], None]) -> None:
        problems: list[Diagnostic] = []
        logs: list[str] = []
        for event in execute(plan, self.resolved, self.store, self.settings, done.records):
            on_event(event)
            match event:
                case Warned(warning):
                    done.warned += [] if warning in done.warned else [warning]
                case Cached(action, record):
                    done.records[action.id] = record
                case Finished(action, record):
                    done.records[action.id] = record
                    done.ran.add(action.id)
                case Failed(action, found, log):
                    problems += [p.at(message=f"{action.label}: {p.message}") for p in found]
                    logs += [f"log of {action.label}: {log}"] if log else []
        if problems:
            raise ModelspecError((*problems, *done.warned), tuple(logs))


def figures_of(plan: Plan, records: Mapping[str, Record], store: Store) -> dict[str, Figures]:
    """What was measured of each target. Raises BlobLostError."""
    return {label: gates.figures(plan, target, records, store.read) for label, target in plan.targets.items()}


def warnings_of(plan: Plan, resolved: Resolved, records: Mapping[str, Record]) -> tuple[Diagnostic, ...]:
    """What the stages of these records had to say, with its lines of model.yaml."""
    return tuple(
        placed(warning, plan.actions[id_], resolved)
        for id_, record in records.items()
        for warning in record.diagnostics()
    )


def require_passed(plan: Plan, resolved: Resolved, records: Mapping[str, Record], store: Store) -> None:
    """Raise MS502 for each gate that fails, together with the warnings, which may say why."""
    figures = figures_of(plan, records, store)
    results = tuple(gates.check(resolved.loaded.spec, figures))
    if failed := [result for result in results if not result.passed]:
        warnings = (*resolved.loaded.warnings, *warnings_of(plan, resolved, records))
        problems = (*(gates.problem(result, resolved) for result in failed), *warnings)
        raise gates.GateError(problems, results=results, figures=figures)


_EXTRAS = {"tokenizers": tokenizer.EXTRA}
"""Of distributions that belong neither to a framework nor to all of them."""


def packages_needed(plan: Plan, source: Framework) -> dict[str, tuple[str, ...]]:
    """The distributions that the plan's actions use, by the extra that brings them; `requires` for the user's own."""
    needed: dict[str, set[str]] = {}
    for name in {name for action in plan.actions.values() for name in action.packages} - _toolchains(plan):
        own = (*source.packages, *source.optional)
        extra = "requires" if name in source.requires else source.name if name in own else _EXTRAS.get(name, "onnx")
        needed.setdefault(extra, set()).add(name)
    for action in plan.actions.values():
        if tools := action.stage.tools():
            needed.setdefault(action.stage.extra, set()).update(tools)
    return {extra: tuple(sorted(names)) for extra, names in needed.items()}


def builds(plan: Plan, label: str) -> bool:
    """Whether the plan compiles for the target here, with a toolchain of its own."""
    return any(_toolchain(action) and label in action.targets for action in plan.actions.values())


def not_here(label: str, what: str, loaded: Loaded) -> Diagnostic:
    """MS420 for a target that takes what is not on this machine."""
    index = next(i for i, target in enumerate(loaded.spec.targets) if target.label == label)
    return Diagnostic(
        "MS420",
        f"{label} cannot be compiled here: there is not {what}",
        help="build where it is; or use --allow-deferred, and run modelspec finish there",
        file=str(loaded.file),
        span=loaded.positions.value(("targets", index)),
        path=("targets", index),
    )


def downstream(plan: Plan, stages: Collection[str]) -> set[str]:
    """Stages, and those that work on what they give."""
    ids = [action.id for action in plan.actions.values() if action.stage.name in stages]
    return {action.stage.name for action in plan.dependents(ids)}


def require_stages(plan: Plan, option: str, names: Collection[str]) -> None:
    """Raise MS325 for a stage that an option of the command line names and that is not there."""
    stages = dict.fromkeys(action.stage.name for action in plan.actions.values())
    for name in names:
        if name not in stages:
            raise fail("MS325", f"{option}: this spec has no stage {name!r}", help=meant(name, stages))


def _toolchain(action: Action) -> tuple[str, ...]:
    return tuple(getattr(action.stage, "toolchain", ()))


def _toolchains(plan: Plan) -> set[str]:
    """What only a target's own tools need: what lacks of them is told with the rest that the device takes."""
    return {name for action in plan.actions.values() for name in _toolchain(action)}
