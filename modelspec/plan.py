"""Spec + resolved facts -> the graph of actions. Pure: nothing is read, run or printed here."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from modelspec import digest, registry, toolchain
from modelspec.errors import fail
from modelspec.options import Options
from modelspec.remote import Remote
from modelspec.resolve import Path_, Resolved, SourceFile
from modelspec.stage import OPTIONAL_PARTS, Determinism, Request, Stage
from modelspec.stages.fetch import Fetch
from modelspec.words import meant


@dataclass(frozen=True)
class Given:
    """An input that lies in the project."""

    files: tuple[SourceFile, ...]


@dataclass(frozen=True)
class Made:
    """An input that another action makes: one of its slots."""

    action: str
    slot: str
    known: Mapping[str, str] | None = None
    """Its files as relative path -> digest, where they are known before it is made."""


Input = Given | Made


@dataclass(frozen=True)
class Action:
    """One stage applied to concrete inputs: the unit that is keyed, cached and run."""

    id: str
    label: str
    stage: Stage
    parts: Mapping[str, Options]
    inputs: Mapping[str, Input]
    packages: Mapping[str, str]
    facts: Mapping[str, str]
    origins: Mapping[str, Path_]
    """Where in model.yaml the options of the stage ("stage") and of each part are written."""
    targets: tuple[str, ...] = ()

    @property
    def determinism(self) -> Determinism:
        return self.stage.promised()

    @property
    def is_fixed(self) -> bool:
        """Whether its outputs are known before it runs."""
        return self.stage.known() is not None

    @property
    def needs(self) -> tuple[str, ...]:
        """The actions whose outputs it takes."""
        return tuple(dict.fromkeys(i.action for i in self.inputs.values() if isinstance(i, Made)))

    def preimage(self, inputs: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
        """Everything that can change the outputs, given each input's files as relative path -> digest."""
        return {
            "stage": self.stage.name,
            "revision": self.stage.revision,
            "options": self.stage.keyed(),
            "parts": {kind: _part_identity(part) for kind, part in self.parts.items()},
            "inputs": {name: dict(files) for name, files in inputs.items()},
            "packages": dict(self.packages),
            "facts": dict(self.facts),
        }


@dataclass(frozen=True)
class TargetPlan:
    """What one target is made of."""

    label: str
    chain: tuple[str, ...]
    """Ids of the stages of this target, in order."""
    published: tuple[tuple[Made, str], ...]
    """Slots that go to dist/, each with the folder below the target's."""
    metrics: tuple[Made, ...]


@dataclass(frozen=True)
class Plan:
    """Actions by id, each after those it needs; and the targets made of them."""

    actions: Mapping[str, Action]
    targets: Mapping[str, TargetPlan]
    complete: bool = True
    """False when `until` cut it short: then nothing is published."""

    def only(self, targets: Iterable[str]) -> "Plan":
        """The part of the plan that the named targets need."""
        chosen = {label: self.targets[label] for label in targets}
        return replace(self, actions=self._closure(a for t in chosen.values() for a in t.chain), targets=chosen)

    @property
    def has_gated(self) -> bool:
        """Whether some of it waits for the gates."""
        return any(action.stage.gated for action in self.actions.values())

    def before_gates(self) -> "Plan":
        """The part of the plan that the gates judge: it runs first, and what they let through runs after."""
        return replace(self, actions={id_: a for id_, a in self.actions.items() if not a.stage.gated})

    def until(self, stage: str) -> "Plan":
        """The part of the plan up to a stage, that stage included; what the gates judge, where it waits for them."""
        ends = [action.id for action in self.actions.values() if action.stage.name == stage]
        if any(self.actions[id_].stage.gated for id_ in ends):
            ends += self.before_gates().actions
        if not ends:
            known = dict.fromkeys(action.stage.name for action in self.actions.values())
            raise fail("MS325", f"--until: this spec has no stage {stage!r}", help=meant(stage, known))
        return replace(self, actions=self._closure(ends), complete=False)

    def dependents(self, ids: Iterable[str]) -> list[Action]:
        """The actions `ids` and all that take their outputs, directly or not, in order."""
        found = set(ids)
        for action in self.actions.values():
            if found.intersection(action.needs):
                found.add(action.id)
        return [action for action in self.actions.values() if action.id in found]

    def _closure(self, ends: Iterable[str]) -> dict[str, Action]:
        wanted = set(ends)
        for action in reversed(self.actions.values()):  # type: ignore[call-overload]
            if action.id in wanted:
                wanted.update(action.needs)
        return {id_: action for id_, action in self.actions.items() if id_ in wanted}


_EACH = ("published", "metrics")
"""Names of inputs that stand for many."""


def _part_identity(part: Options) -> dict[str, Any]:
    identity: dict[str, Any] = {"options": part.keyed()}
    if revision := getattr(part, "revision", None):
        identity["revision"] = revision
    return identity


@dataclass
class _Planner:
    resolved: Resolved
    deferred: Collection[str] = ()
    actions: dict[str, Action] = field(default_factory=dict)

    def request(self, index: int) -> Request:
        request = self.resolved.loaded.spec.request(index, self.resolved.found)
        target = self.resolved.loaded.spec.targets[index]
        return replace(request, deferred=target.label in self.deferred)

    def target(self, index: int) -> TargetPlan:
        """Plan one target's chain: each stage that is asked for takes the slots of those before it."""
        target = self.resolved.loaded.spec.targets[index]
        request = self.request(index)
        slots: dict[str, Made] = {}
        metrics: list[Made] = []
        publishes: dict[str, str] = {}
        shown: dict[str, str] = {}
        chain: list[str] = []
        for kind in registry.stages().values():
            stage = None if kind.provides else kind.configure(request)
            if stage is None:
                continue
            id_ = self.add(stage, request, slots, {"stage": kind.origin(request), "target": ("targets", index)})
            chain.append(id_)
            publishes |= kind.publishes
            if "metrics" in kind.gives:
                metrics.append(Made(id_, "metrics"))
                if self.actions[id_].determinism is not Determinism.MEASURED:
                    slots[f"metrics-{len(metrics):02}-{kind.name}"] = metrics[-1]
            slots |= {slot: Made(id_, slot) for slot in kind.gives if slot != "metrics"}
            shown |= {} if kind.gated else kind.publishes
            slots |= {f"published-{slot}/{folder}".rstrip("/"): slots[slot] for slot, folder in shown.items()}
        published = tuple((slots[slot], folder) for slot, folder in publishes.items())
        for id_ in self._with_providers(chain):
            action = self.actions[id_]
            self.actions[id_] = replace(action, targets=tuple(dict.fromkeys((*action.targets, target.label))))
        return TargetPlan(target.label, tuple(chain), published, tuple(metrics))

    def _with_providers(self, chain: list[str]) -> list[str]:
        needed = [a for id_ in chain for a in (*self._with_providers(list(self.actions[id_].needs)), id_)]
        return list(dict.fromkeys(needed))

    def provided(self, slot: str, request: Request, slots: Mapping[str, Made]) -> Made:
        """The slot `<kind>:<data set>`, made by the stage that provides it."""
        kind, _, dataset = slot.partition(":")
        stage = next(s for s in registry.stages().values() if s.provides == kind)
        options = stage.provide(request, dataset)
        id_ = self.add(options, request, slots, {"stage": ("data", dataset)}, dataset)
        return Made(id_, stage.gives[0])

    def fetched(self, remote: Remote, place: Path_, request: Request) -> Made:
        """A file that is elsewhere, called by the data set or the key of the source that names it."""
        stage = Fetch(uri=remote.uri, sha256=remote.sha256, file=remote.file_name)
        id_ = self.add(stage, request, {}, {"stage": place}, str(place[1]))
        return Made(id_, "file", stage.known()["file"])

    def add(
        self,
        stage: Stage,
        request: Request,
        slots: Mapping[str, Made],
        origins: dict[str, Path_],
        dataset: str = "",
    ) -> str:
        """Add an action, unless one of the same work is there already; returns its id."""
        inputs: dict[str, Input] = {}
        for name, slot in stage.inputs(request).items():
            if name in _EACH:
                inputs |= {found: made for found, made in slots.items() if found.startswith(f"{name}-")}
            else:
                inputs[name] = self.provided(slot, request, slots) if ":" in slot else slots[slot]
        kinds = [kind for kind in stage.parts if kind not in OPTIONAL_PARTS or getattr(request, kind)]
        parts: dict[str, Options] = {kind: self._part(kind, request, dataset) for kind in kinds}
        origins = {
            "framework": ("source",),
            "signature": ("signature",),
            "loader": ("data", dataset),
            "tokenizer": ("processing", "tokenizer"),
            "classes": ("processing",),
            **origins,
        }
        for kind, part in {"stage": stage, **parts}.items():
            for name in part.paths:
                place = (*origins[kind], name)
                taken = part.input_names.get(name, name)
                if files := self.resolved.files.get(place):
                    inputs[taken] = Given(files)
                elif remote := self.resolved.remote.get(place):
                    inputs[taken] = self.fetched(remote, place, request)
        uses_code = any(options.entrypoints() for options in (stage, *parts.values()))
        if uses_code:
            inputs["code"] = Given(self.resolved.code)
        label = f"{stage.name}:{dataset}" if dataset else stage.name
        action = Action(
            "", label, stage, parts, inputs, self._versions(stage, parts, uses_code), self._facts(stage, parts), origins
        )
        id_ = digest.of_json([action.preimage({}), {n: _reference(i) for n, i in inputs.items()}])[:16]
        self.actions.setdefault(id_, replace(action, id=id_))
        return id_

    @staticmethod
    def _part(kind: str, request: Request, dataset: str) -> Options:
        part = request.data[dataset] if kind == "loader" else getattr(request, kind)
        assert isinstance(part, Options), f"{kind} is not known here"
        return part

    def _versions(self, stage: Stage, parts: Mapping[str, Options], uses_code: bool) -> dict[str, str]:
        names = {
            *stage.distributions(),
            *(name for part in parts.values() for name in getattr(part, "packages", ())),
        }
        if uses_code:
            source = self.resolved.loaded.spec.source
            names |= {"python", *source.packages, *source.requires}
        return {name: toolchain.version(name) or toolchain.ABSENT for name in sorted(names)}

    @staticmethod
    def _facts(stage: Stage, parts: Mapping[str, Options]) -> dict[str, str]:
        return toolchain.facts(
            {*stage.depends_on(), *(name for part in parts.values() for name in getattr(part, "facts", ()))}
        )


def _reference(value: Input) -> Any:
    if isinstance(value, Made):
        return [value.action, value.slot]
    return {file.name: file.sha256 for file in value.files}


def make(resolved: Resolved, deferred: Collection[str] = ()) -> Plan:
    """The plan of every target of the spec; those in `deferred` are left for another machine to compile."""
    planner = _Planner(resolved, deferred)
    targets = [planner.target(index) for index in range(len(resolved.loaded.spec.targets))]
    return Plan(_labelled(planner.actions), {target.label: target for target in targets})


def _labelled(actions: Mapping[str, Action]) -> dict[str, Action]:
    """Tell apart the actions of one stage by the targets they are for."""
    shared: dict[str, int] = {}
    for action in actions.values():
        shared[action.label] = shared.get(action.label, 0) + 1
    return {
        id_: replace(a, label=f"{a.label}@{'+'.join(a.targets)}") if shared[a.label] > 1 else a
        for id_, a in actions.items()
    }
