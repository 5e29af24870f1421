"""The order of the steps: load, resolve, plan, match, execute, gates, publish. Each takes what the one before gives."""

import json
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from modelspec import gates, publication, publish
from modelspec.errors import Diagnostic, ModelspecError, fail
from modelspec.execute.events import Cached, Event, Failed, Finished
from modelspec.execute.execute import Settings, execute
from modelspec.gates import Figures, GateResult
from modelspec.match import Match, State, match
from modelspec.plan import Plan, make, packages_needed
from modelspec.publication import Publication
from modelspec.resolve import Resolved, check_packages, resolve, spec_id
from modelspec.spec.load import load
from modelspec.store.record import Record
from modelspec.store.stat_cache import StatCache
from modelspec.store.store import Store


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    file: Path
    cache: Path
    output: Path = Path("dist")
    targets: tuple[str, ...] = ()
    until: str | None = None
    fresh: Collection[str] = ()
    settings: Settings = field(default_factory=Settings)
    judged: bool = True
    """Whether a failed gate fails the build. Not where the result is only compared with an earlier one."""


@dataclass(frozen=True)
class Prepared:
    """Everything known before the first action runs."""

    asked: Asked
    resolved: Resolved
    store: Store
    stats: StatCache
    whole: Plan
    """The plan of every target."""
    plan: Plan
    """The part that was asked for."""
    matches: Mapping[str, Match]

    def of_stage(self, stage: str) -> list[Match]:
        """The matches of one stage, or of one action by its label. Raises MS325 when there is none."""
        actions = self.plan.actions.values()
        if found := [self.matches[a.id] for a in actions if stage in (a.stage.name, a.label)]:
            return found
        known = ", ".join(dict.fromkeys(action.stage.name for action in actions))
        raise fail("MS325", f"--why: this spec has no stage {stage!r}", help=f"one of: {known}")


@dataclass(frozen=True)
class Outcome:
    """A build that succeeded."""

    prepared: Prepared
    folder: Path | None
    """Where it was published; None with `until`."""
    current: bool
    """The folder held this very build already, and nothing ran."""
    replaced: bool
    """The folder held the same version with other content."""
    ran: int
    cached: int
    gates: tuple[GateResult, ...]
    figures: Mapping[str, Figures]
    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    warnings: tuple[Diagnostic, ...]


def prepare(asked: Asked) -> Prepared:
    """Load, resolve, plan and match: reads, and runs nothing."""
    loaded = load(asked.file)
    store = Store(asked.cache)
    with suppress(OSError):  # `plan` reads; where nothing can be written, `build` says so when it must
        store.make_private()
    stats = StatCache(store.root / "latest" / spec_id(loaded) / "stat.json")
    resolved = resolve(loaded, stats)
    whole = make(resolved)
    check_packages(packages_needed(whole, loaded.spec.source))
    known = list(whole.targets)
    for name in asked.targets:
        if name not in known:
            raise fail("MS308", f"--target: this spec has no target {name!r}", help=f"one of: {', '.join(known)}")
    plan = whole.only(asked.targets) if asked.targets else whole
    if asked.until:
        plan = plan.until(asked.until)
    stages = {action.stage.name for action in whole.actions.values()}
    for name in asked.fresh:
        if name not in stages:
            raise fail(
                "MS325",
                f"--no-cache: this spec has no stage {name!r}",
                help=f"one of: {', '.join(sorted(stages))}",
            )
    return Prepared(asked, resolved, store, stats, whole, plan, match(whole, resolved, store, asked.fresh))


def build(asked: Asked, on_prepared: Callable[[Prepared], None], on_event: Callable[[Event], None]) -> Outcome:
    """The whole of `modelspec build`. Raises ModelspecError; then nothing was published."""
    if sys.platform != "linux":
        raise fail("MS404", f"builds run on Linux, not on {sys.platform}", help="build in a Linux container or in CI")
    prepared = prepare(asked)
    on_prepared(prepared)
    plan = prepared.plan
    if all(prepared.matches[id_].state is State.CACHED for id_ in plan.actions):
        records = {id_: _record(prepared, id_) for id_ in plan.actions}
        ran: frozenset[str] = frozenset()
    else:
        records, ran = _run(prepared, on_event)
    warnings = tuple(w for record in records.values() for w in record.diagnostics())
    if not plan.complete:
        return Outcome(prepared, None, False, False, len(ran), len(records) - len(ran), (), {}, (), (), warnings)
    return _publish(prepared, records, ran, warnings)


def _record(prepared: Prepared, id_: str) -> Record:
    record = prepared.matches[id_].record
    assert record is not None, "an action that is cached has a record"
    return record


def _run(prepared: Prepared, on_event: Callable[[Event], None]) -> tuple[dict[str, Record], frozenset[str]]:
    records: dict[str, Record] = {}
    ran: set[str] = set()
    problems: list[Diagnostic] = []
    logs: list[str] = []
    for event in execute(prepared.plan, prepared.resolved, prepared.store, prepared.asked.settings):
        on_event(event)
        match event:
            case Cached(action, record):
                records[action.id] = record
            case Finished(action, record):
                records[action.id] = record
                ran.add(action.id)
            case Failed(action, found, log):
                problems += [p.at(message=f"{action.label}: {p.message}") for p in found]
                logs += [f"log of {action.label}: {log}"] if log else []
    if problems:
        raise ModelspecError(tuple(problems), tuple(logs))
    return records, frozenset(ran)


def _publish(
    prepared: Prepared, records: dict[str, Record], ran: frozenset[str], warnings: tuple[Diagnostic, ...]
) -> Outcome:
    resolved, store = prepared.resolved, prepared.store
    folder = publish.folder_of(resolved.loaded.spec, prepared.asked.output)
    kept, dropped = _other_targets(prepared, folder)
    plan = prepared.whole.only([label for label in prepared.whole.targets if label in {*prepared.plan.targets, *kept}])
    records |= {id_: _record(prepared, id_) for id_ in plan.actions if id_ not in records}
    figures = {
        label: gates.figures(plan, target, records, lambda sha256: store.blob(sha256).read_bytes())
        for label, target in plan.targets.items()
    }
    results = tuple(gates.check(resolved.loaded.spec, figures))
    if prepared.asked.judged and (failed := [result for result in results if not result.passed]):
        raise ModelspecError(tuple(_gate_problem(result, resolved) for result in failed))
    expected = publication.identity(resolved, plan, records)
    current = not ran and publish.is_current(folder, expected, prepared.stats)
    replaced = False
    if not current:
        finished = Publication(resolved, plan, records, figures, results, ran)
        folder, replaced = publish.publish(finished, prepared.asked.output, store)
    prepared.stats.save()
    return Outcome(
        prepared,
        folder,
        current,
        replaced,
        len(ran),
        len(records) - len(ran),
        results,
        figures,
        kept,
        dropped,
        warnings,
    )


def _other_targets(prepared: Prepared, folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """With --target: the published targets that stay, being still what the spec asks for, and those that go."""
    if not prepared.asked.targets:
        return (), ()
    try:
        published = json.loads((folder / publication.BUILD).read_bytes())["metrics"]
    except (OSError, ValueError, KeyError):
        return (), ()
    others = [label for label in published if label not in prepared.plan.targets]
    kept = tuple(label for label in others if label in prepared.whole.targets and _is_built(prepared, label))
    return kept, tuple(label for label in others if label not in kept)


def _is_built(prepared: Prepared, label: str) -> bool:
    actions = prepared.whole.only([label]).actions
    return all(prepared.matches[id_].state is State.CACHED for id_ in actions)


def _gate_problem(result: GateResult, resolved: Resolved) -> Diagnostic:
    """A failed gate with the measured value, the limit, and the line of the gate."""
    shown = gates.shown(result)
    place = ("evaluate",) if result.index is None else ("evaluate", "gates", result.index, result.kind)
    origin = " (the default gate)" if result.index is None else ""
    return Diagnostic(
        "MS502",
        f"{result.metric} of {result.target} is {shown.value}, {shown.verdict}{origin}",
        why=shown.why,
        help="improve the model or the options, or change the limit",
        file=str(resolved.loaded.file),
        span=resolved.loaded.positions.value(place),
        path=place,
    )
