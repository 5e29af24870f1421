"""Runs a plan: ready actions in worker processes, each result into the store, one event per step."""

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelspec import digest
from modelspec.errors import Diagnostic, ModelspecError
from modelspec.execute.diagnose import diagnose
from modelspec.execute.events import Cached, Event, Failed, Finished, Healing, Skipped, Started, Waiting, Warned
from modelspec.execute.job_file import Result, read_result
from modelspec.execute.pool import Done, Pool, credentials
from modelspec.execute.problems import irreplaceable, not_isolated, offline, placed
from modelspec.execute.scratch import collect, keep_log, prepare
from modelspec.match import Match, State, input_files, match_one
from modelspec.plan import Action, Plan
from modelspec.resolve import Resolved
from modelspec.stage import Determinism
from modelspec.store.files import CacheUnavailableError, cache_errors
from modelspec.store.locks import FileLock, release
from modelspec.store.record import Record
from modelspec.store.store import BlobLostError, Store

_POLL_S = 0.05
_IDLE_S = 1.0
_HEALINGS = 3
"""How often one action's lost bytes are made again in one build."""


@dataclass(frozen=True)
class Settings:
    """How to run: none of it can change a result."""

    jobs: int = 1
    keep_going: bool = False
    timeout_s: float = 3600.0
    memory: int | None = None  # bytes that each process of an action may use
    fresh: Collection[str] = ()
    offline: bool = False
    """Whether what takes the network is an error."""
    is_trial: bool = False
    """Whether `plan` goes on comparing with the build before this one."""
    pool: Pool | None = None  # that several builds share; whoever started it ends it


@dataclass
class _Running:
    match: Match
    scratch: Path
    locks: list[FileLock]
    started: float
    killed: bool = False


def execute(
    plan: Plan, resolved: Resolved, store: Store, settings: Settings, done: Mapping[str, Record] | None = None
) -> Iterator[Event]:
    """Run every action that has no record; afterwards the store holds one for each that did not fail.

    Of what is in `done`, which ran before in this build, nothing is said; it runs again only where its bytes are lost.
    """
    with store.session() as folder:
        run = _Run(plan, resolved, store, settings, settings.pool or Pool(folder), dict(done or {}))
        try:
            yield from run.events()
        finally:
            if run.running or settings.pool is None:
                run.pool.close()
            for running in run.running.values():
                release(running.locks)


@dataclass
class _Run:
    plan: Plan
    resolved: Resolved
    store: Store
    settings: Settings
    pool: Pool
    records: dict[str, Record] = field(default_factory=dict)
    running: dict[str, _Running] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    waiting_since: dict[str, float] = field(default_factory=dict)
    pending: dict[str, Action] = field(default_factory=dict)
    healed: dict[str, int] = field(default_factory=dict)
    networked: str = ""
    wanted: set[str] = field(default_factory=set)
    """Actions with known outputs whose bytes are needed: the others do not run."""

    def events(self) -> Iterator[Event]:
        self.pending = {id_: action for id_, action in self.plan.actions.items() if id_ not in self.records}
        taken = {need for action in self.plan.actions.values() for need in action.needs}
        self.wanted = {a.id for a in self.pending.values() if a.id not in taken or a.stage.name in self.settings.fresh}
        while self.running or any(not self._is_idle(action) for action in self.pending.values()):
            for action in list(self.pending.values()):
                if self._hopeless(action):
                    del self.pending[action.id]
                    self.failed.add(action.id)
                    yield Skipped(action)
                elif input_files(action, self.records) is not None:
                    for event in self._advance(action):
                        if not isinstance(event, Waiting | Healing):
                            self.pending.pop(action.id, None)
                        yield event
                else:
                    self._foresee(action)
            has_room = self.pending and len(self.running) < self.settings.jobs
            yield from self._finished(_POLL_S if has_room else _IDLE_S)

    def _is_idle(self, action: Action) -> bool:
        return action.is_fixed and action.id not in self.wanted

    def _foresee(self, action: Action) -> None:
        """Have what it takes brought while it waits, where it was never built: it will hardly turn out to be cached."""
        lacking = {need for need in action.needs if self.plan.actions[need].is_fixed} - self.wanted - set(self.records)
        if lacking and self.store.latest(self.resolved.spec_id, action.label) is None:
            self.wanted |= lacking

    def _hopeless(self, action: Action) -> bool:
        if any(need in self.failed for need in action.needs):
            return True
        return bool(self.failed) and not self.settings.keep_going

    def _advance(self, action: Action) -> Iterator[Event]:
        """Use the action's record, or start it if there is room. Without a place or the lock, nothing happens yet."""
        match = match_one(action, self.records, self.resolved, self.store, self.settings.fresh)
        if match.record:
            yield self._cached(action, match.record)
            return
        if problem := self._irreplaceable(match):
            yield self._failure(match, (problem,), "")
            return
        if self._is_idle(action):
            return
        if lacking := [need for need in action.needs if need not in self.records]:
            self.wanted.update(lacking)
            return
        if self.settings.offline and (problem := offline(action)):
            yield self._failure(match, (problem,), "")
            return
        if not self._has_room(action):
            return
        locks = self._locks(match)
        if locks is None:
            yield from self._wait(match)
            return
        # Whoever held the lock before may have done the work.
        match = match_one(action, self.records, self.resolved, self.store, self.settings.fresh)
        if match.state is State.CACHED and match.record:
            release(locks)
            yield self._cached(action, match.record)
            return
        try:
            scratch = prepare(match, self.records, self.store)
        except BlobLostError as lost:
            release(locks)
            yield from self._heal(match, lost.sha256)
            return
        except CacheUnavailableError:
            release(locks)
            raise
        except ModelspecError as error:
            release(locks)
            yield self._failure(match, error.diagnostics, "")
            return
        self.running[action.id] = _Running(match, scratch, locks, time.monotonic())
        with cache_errors("starting a worker"):
            environment = credentials() if action.stage.network else None
            self.pool.run(action.id, scratch, _modules(action), self.settings.memory, environment)
        yield Started(match)

    def _irreplaceable(self, match: Match) -> Diagnostic | None:
        """A `recorded` result whose bytes are lost is not made again unasked: the new one would be another."""
        if match.action.stage.name in self.settings.fresh:
            return None
        record = self.store.record(match.key)
        if record is None or record.determinism != Determinism.RECORDED:
            return None
        return irreplaceable(match.action)

    def _heal(self, match: Match, sha256: str) -> Iterator[Event]:
        """Have the bytes made again by whichever action made them; give up on a disk that loses them each time."""
        makers = [id_ for id_, r in self.records.items() if sha256 in {output.sha256 for output in r.outputs}]
        for id_ in makers:
            self.healed[id_] = self.healed.get(id_, 0) + 1
            action = self.plan.actions[id_]
            if self.healed[id_] > _HEALINGS:
                message = f"what {action.label} makes is lost or damaged in the cache each time it is made"
                yield self._failure(match, (Diagnostic("MS602", message, help="use --cache-dir on another disk"),), "")
                return
            yield Healing(action)
        for action in self.plan.dependents(makers):
            if self.records.pop(action.id, None):
                self.pending[action.id] = action

    def _wait(self, match: Match) -> Iterator[Event]:
        now = time.monotonic()
        if match.action.id not in self.waiting_since:
            self.waiting_since[match.action.id] = now
            yield Waiting(match.action)
        elif now - self.waiting_since[match.action.id] > self.settings.timeout_s:
            message = f"waited {self.settings.timeout_s:g} s for another build of {match.action.label}"
            problem = Diagnostic("MS407", message, help="let it finish, or end it, and build again")
            yield self._failure(match, (problem,), "")

    def _cached(self, action: Action, record: Record) -> Cached:
        self.records[action.id] = record
        self._remember(action, record)
        return Cached(action, record)

    def _remember(self, action: Action, record: Record) -> None:
        if not self.settings.is_trial:
            self.store.set_latest(self.resolved.spec_id, action.label, record.key)

    def _has_room(self, action: Action) -> bool:
        if any(running.match.action.stage.exclusive for running in self.running.values()):
            return False
        return not self.running if action.stage.exclusive else len(self.running) < self.settings.jobs

    def _locks(self, match: Match) -> list[FileLock] | None:
        """The action's lock, and the machine's for work that must be alone; None while another build has one."""
        names = [match.key, *(["exclusive"] if match.action.stage.exclusive else [])]
        taken: list[FileLock] = []
        try:
            with cache_errors("locking an action"):
                for name in names:
                    lock = self.store.lock(name)
                    if not lock.try_acquire():
                        release(taken)
                        return None
                    taken.append(lock)
        except CacheUnavailableError:
            release(taken)
            raise
        return taken

    def _finished(self, wait_s: float) -> Iterator[Event]:
        if not self.running:
            time.sleep(wait_s if self.waiting_since else 0)
            return
        self._end_overdue()
        for ended in self.pool.done(wait_s):
            running = self.running.pop(ended.id)
            try:
                said = read_result(running.scratch)
                if said and said.networked and not self.networked:
                    self.networked = said.networked
                    yield Warned(not_isolated(said.networked))
                yield self._conclude(running, said, ended)
            finally:
                release(running.locks)

    def _end_overdue(self) -> None:
        for id_, running in self.running.items():
            if not running.killed and time.monotonic() - running.started > self.settings.timeout_s:
                running.killed = True
                self.pool.kill(id_)

    def _conclude(self, running: _Running, said: Result | None, done: Done) -> Event:
        match = running.match
        if running.killed:
            problem = Diagnostic(
                "MS520",
                f"{match.action.label} ran for more than {self.settings.timeout_s:g} s",
                help="raise --timeout, or give it less to do",
            )
            return self._failure(match, (problem,), keep_log(match, running.scratch, self.store))
        if done.status or said is None:
            problems = diagnose(said, running.scratch, done, self.settings.memory)
            if any(problem.code == "MS403" for problem in problems):
                raise CacheUnavailableError(problems)  # the scratch folder lies beside the cache
            return self._failure(match, problems, keep_log(match, running.scratch, self.store))
        try:
            record = collect(match, said, running.scratch, self.store)
        except CacheUnavailableError:
            raise
        except ModelspecError as error:
            return self._failure(match, error.diagnostics, keep_log(match, running.scratch, self.store))
        keep_log(match, running.scratch, self.store)
        if self._is_current(match):
            self.records[match.action.id] = record
        else:  # what it was made from is being made again meanwhile
            self.pending[match.action.id] = match.action
        self._remember(match.action, record)
        return Finished(match.action, record)

    def _is_current(self, match: Match) -> bool:
        inputs = input_files(match.action, self.records)
        return inputs is not None and digest.of_json(match.action.preimage(inputs)) == match.key

    def _failure(self, match: Match, problems: tuple[Diagnostic, ...], log: str) -> Failed:
        self.failed.add(match.action.id)
        return Failed(match.action, tuple(placed(p, match.action, self.resolved) for p in problems), log)


def _modules(action: Action) -> tuple[str, ...]:
    parts = (name for part in action.parts.values() for name in getattr(part, "imports", ()))
    return tuple(dict.fromkeys((*action.stage.imports, *parts)))
