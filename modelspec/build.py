"""The order of the steps: load, resolve, plan, match, execute, gates, publish. Each takes what the one before gives."""

import json
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from modelspec import gates, lock, publication, publish
from modelspec.errors import Diagnostic, ModelspecError, fail
from modelspec.execute.events import Event
from modelspec.execute.execute import Settings
from modelspec.execute.problems import require_offline, require_resolved
from modelspec.figures import Figures
from modelspec.gates import GateError, GateResult
from modelspec.lock import Lock
from modelspec.match import Match, State, demanded, match
from modelspec.phases import Run, builds, downstream, figures_of, not_here, packages_needed, require_stages, warnings_of
from modelspec.plan import Plan, make
from modelspec.publication import Publication
from modelspec.resolve import (
    Resolved,
    look_up,
    lookups,
    missing_packages,
    pins,
    repin,
    require_unchanged,
    resolve,
    spec_id,
)
from modelspec.spec.load import Loaded, load
from modelspec.store.files import CacheUnavailableError
from modelspec.store.passing import passing_store
from modelspec.store.record import Record
from modelspec.store.stat_cache import StatCache
from modelspec.store.store import BlobLostError, Store
from modelspec.words import meant


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    file: Path
    cache: Path
    output: Path | None = Path("dist")
    """The folder to publish to. With None, nothing is published and model.lock stays."""
    targets: tuple[str, ...] = ()
    until: str | None = None
    fresh: Collection[str] = ()
    locked: bool = False
    """Whether anything that differs from model.lock is an error."""
    update: Collection[str] | None = None
    """Stages whose results may differ from those that model.lock pins; empty for all, None for none."""
    settings: Settings = field(default_factory=Settings)
    judged: bool = True
    """Whether gates and model.lock judge the result. Not where it is only compared with an earlier one."""
    loaded: Loaded | None = None
    """The spec, where it is not the one that the file holds."""
    allow_deferred: bool = False
    """Whether targets that cannot be compiled here are left for another machine to finish."""
    deferred: Collection[str] = ()
    """Targets that are left so in any case."""


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
    missing: tuple[Diagnostic, ...]
    """What is not installed. `plan` can do without; `build` cannot."""

    @property
    def pins_anew(self) -> bool:
        """Whether figures of this build go into model.lock, and what waits for the gates is planned with them."""
        stages = self.asked.update or ()
        return self.plan.complete and any(pin.stage in stages for pin in pins(self.resolved.loaded).values())

    def of_stage(self, stage: str) -> list[Match]:
        """The matches of one stage, or of one action by its label. Raises MS325 when there is none."""
        actions = self.plan.actions.values()
        if found := [self.matches[a.id] for a in actions if stage in (a.stage.name, a.label)]:
            return found
        known = dict.fromkeys(action.stage.name for action in actions)
        raise fail("MS325", f"--why: this spec has no stage {stage!r}", help=meant(stage, known))


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


def prepare(asked: Asked, *, online: bool = False) -> Prepared:
    """Load, resolve, plan and match: reads, and runs nothing. What model.lock does not know is looked up if `online`."""
    loaded = asked.loaded or load(asked.file)
    store = Store(asked.cache)
    store.require_private()
    stats = StatCache(store.root / "latest" / spec_id(loaded) / "stat.json")
    resolved = resolve(loaded, stats)
    if lookups(loaded):
        locked = lock.read(loaded.file)
        pinned = locked.lock.found if locked else {}
        resolved = look_up(resolved, pinned, online=online, anew=asked.update)
    return _planned(asked, resolved, store, stats)


def _planned(asked: Asked, resolved: Resolved, store: Store, stats: StatCache) -> Prepared:
    loaded = resolved.loaded
    targets = loaded.spec.targets
    lacking = {target.label: what for target in targets if (what := target.lacking())}
    deferred = {*asked.deferred, *(lacking if asked.allow_deferred else ())}
    whole = make(resolved, deferred)
    known = list(whole.targets)
    for name in asked.targets:
        if name not in known:
            raise fail("MS308", f"--target: this spec has no target {name!r}", help=meant(name, known))
    plan = whole.only(asked.targets) if asked.targets else whole
    if asked.until:
        plan = plan.until(asked.until)
    require_stages(whole, "--no-cache", asked.fresh)
    require_stages(whole, "--update", asked.update or ())
    missing = missing_packages(packages_needed(whole, loaded.spec.source))
    missing += tuple(not_here(label, what, loaded) for label, what in lacking.items() if builds(plan, label))
    matches = match(whole, resolved, store, asked.fresh)
    matches |= demanded(plan, matches, asked.fresh)
    return Prepared(asked, resolved, store, stats, whole, plan, matches, missing)


def build(asked: Asked, on_prepared: Callable[[Prepared], None], on_event: Callable[[Event], None]) -> Outcome:
    """The whole of `modelspec build`. Raises ModelspecError; then nothing was published."""
    if sys.platform != "linux":
        raise fail("MS404", f"builds run on Linux, not on {sys.platform}", help="build in a Linux container or in CI")
    prepared = prepare(asked, online=not (asked.locked or asked.settings.offline))
    if asked.locked:
        lock.require_unmoved(prepared.resolved, prepared.whole)
    if asked.settings.offline:
        require_offline(prepared.plan, prepared.matches, prepared.resolved)
    if prepared.missing:
        raise ModelspecError(prepared.missing)
    require_resolved(prepared.plan, prepared.resolved)
    on_prepared(prepared)
    try:
        return _built(prepared, on_event)
    except CacheUnavailableError as error:
        warning = _without_cache(error, asked.cache)
    with passing_store(prepared.store) as store:
        outcome = _built(replace(prepared, store=store), on_event)
    return replace(outcome, warnings=(warning, *outcome.warnings))


def _without_cache(error: CacheUnavailableError, cache: Path) -> Diagnostic:
    return Diagnostic(
        "MS451",
        f"the cache cannot be written, and the build does without it: {error.diagnostics[0].message}",
        help=f"make room in {str(cache)!r}, make it writable, or use --cache-dir",
        severity="warning",
    )


def _built(prepared: Prepared, on_event: Callable[[Event], None]) -> Outcome:
    """Run what must run, then publish; what turns out to be lost in the cache on the way is made again."""
    if not prepared.pins_anew and not any(prepared.matches[id_].is_work for id_ in prepared.plan.actions):
        with suppress(BlobLostError):
            return _finished(prepared, _records(prepared, prepared.plan), frozenset())
    for _ in range(_ATTEMPTS):
        with prepared.store.session(), suppress(BlobLostError):  # one session: nothing is pruned before it is published
            asked = prepared.asked
            run = Run(prepared.plan, prepared.resolved, prepared.store, asked.settings, asked.judged)
            done = run.before_gates(on_event)
            pinned = _pinned(prepared, done.records) if prepared.pins_anew else prepared
            replace(run, plan=pinned.plan, resolved=pinned.resolved).rest(done, on_event)
            outcome = _finished(pinned, done.records, frozenset(done.ran))
            return replace(outcome, warnings=(*done.warned, *outcome.warnings))
    raise fail("MS602", "what the cache holds is lost or damaged each time it is made", help="use another --cache-dir")


_ATTEMPTS = 3


def _pinned(prepared: Prepared, records: Mapping[str, Record]) -> Prepared:
    """Planned again, with what was measured just now pinned. Raises BlobLostError."""
    figures = {label: found.measured for label, found in figures_of(prepared.plan, records, prepared.store).items()}
    resolved = repin(prepared.resolved, prepared.asked.update or (), figures)
    return _planned(prepared.asked, resolved, prepared.store, prepared.stats)


def _records(prepared: Prepared, plan: Plan) -> dict[str, Record]:
    """Those that were there before; what is not needed may have none."""
    found = {id_: prepared.matches[id_].record for id_ in plan.actions}
    return {id_: record for id_, record in found.items() if record is not None}


def _finished(prepared: Prepared, records: dict[str, Record], ran: frozenset[str]) -> Outcome:
    """Judge and publish. Raises BlobLostError."""
    warnings = prepared.resolved.loaded.warnings + warnings_of(prepared.plan, prepared.resolved, records)
    if not prepared.plan.complete:
        return Outcome(prepared, None, False, False, len(ran), len(records) - len(ran), (), {}, (), (), warnings)
    resolved, store, output = prepared.resolved, prepared.store, prepared.asked.output
    folder = publish.folder_of(resolved.loaded.spec, output) if output else None
    kept, dropped = _other_targets(prepared, folder) if folder else ((), ())
    plan = prepared.whole.only([label for label in prepared.whole.targets if label in {*prepared.plan.targets, *kept}])
    records = {**_records(prepared, plan), **records}
    figures = figures_of(plan, records, store)
    results = tuple(gates.check(resolved.loaded.spec, figures))
    if prepared.asked.judged and (failed := [result for result in results if not result.passed]):
        # The warnings may say why.
        problems = (*(gates.problem(result, resolved) for result in failed), *warnings)
        raise GateError(problems, results=results, figures=figures)
    require_unchanged(resolved, prepared.stats)
    counts = (len(ran), len(records) - len(ran))
    if folder is None or output is None:
        return Outcome(prepared, None, False, False, *counts, results, figures, (), (), warnings)
    finished = Publication(resolved, plan, records, figures, results, ran)
    new_lock = _next_lock(prepared, finished)
    current = not ran and publish.is_current(folder, finished, prepared.stats)
    replaced = False
    if current:
        publish.tidy(folder)
    else:
        folder, replaced = publish.publish(finished, output, store)
    if new_lock and not publish.write_lock(resolved.loaded.file, new_lock):
        warnings += (_lock_not_written(resolved),)
    prepared.stats.save()
    return Outcome(prepared, folder, current, replaced, *counts, results, figures, kept, dropped, warnings)


def _next_lock(prepared: Prepared, finished: Publication) -> Lock | None:
    """The model.lock after this build; None where it stays. Raises MS632 where results are not those that it pins."""
    asked, resolved = prepared.asked, prepared.resolved
    if not asked.judged:
        return None
    current = lock.now(resolved, prepared.whole)
    outputs = publication.published(finished)
    if asked.update is not None and not asked.update:
        return lock.updated(None, current, outputs)
    locked = lock.read(resolved.loaded.file)
    if locked is None:
        return lock.updated(None, current, outputs)
    free = downstream(prepared.whole, asked.update or ())
    settled = {label: files for label, files in outputs.items() if lock.is_settled(locked, current, label)}
    if changed := lock.changed_outputs(locked, settled, free):
        raise ModelspecError(tuple(changed))
    return None if asked.locked else lock.updated(locked.lock, current, outputs)


def _lock_not_written(resolved: Resolved) -> Diagnostic:
    name = lock.path_of(resolved.loaded.file).name
    message = f"{name} cannot be written beside {resolved.loaded.file.name}"
    fix = "make the folder writable; or use --locked, which writes nothing"
    return Diagnostic("MS452", message, help=fix, severity="warning")


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
    matches = demanded(prepared.whole.only([label]), prepared.matches)
    return all(
        match.state is State.UNNEEDED or (match.state is State.CACHED and prepared.store.find(match.key))
        for match in matches.values()
    )
