"""`modelspec tune`: try, judge, choose. Everything is an ordinary build, so an ended search goes on where it was."""

import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelspec.build import Prepared
from modelspec.errors import Diagnostic, ModelspecError, fail
from modelspec.execute.events import Event
from modelspec.execute.execute import Settings
from modelspec.execute.pool import Pool
from modelspec.metric import direction
from modelspec.spec import yaml
from modelspec.spec.load import Loaded, load, read
from modelspec.spec.positions import Place
from modelspec.spec.tune import Tune, place_of
from modelspec.spec.tune_rules import chosen_target
from modelspec.store.files import replace_file
from modelspec.store.store import Store
from modelspec.tune.exclude import Ranked, exclude, quantized
from modelspec.tune.samplers import Sampler, sampler_for
from modelspec.tune.trial import Bench, State, Trial


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    file: Path
    cache: Path
    settings: Settings = field(default_factory=Settings)
    exclude_nodes: bool = False
    """Whether to look for the nodes that quantization has to leave in float."""


class Listener:
    """Hears what the search does; does nothing itself."""

    def starts(self, metrics: tuple[str, ...]) -> None:
        """The search starts; it is about these metrics."""

    def begins(self, number: int, most: int | None, changes: Mapping[Place, Any]) -> None:
        """A trial begins; `most` is how many there will be, where that is known."""

    def ended(self, trial: Trial) -> None:
        """A trial ended."""

    def prepared(self, prepared: Prepared) -> None:
        """The plan of a trial is known."""

    def event(self, event: Event) -> None:
        """A build of a trial did something."""


@dataclass(frozen=True)
class Tuned:
    """What was tried and what is best."""

    loaded: Loaded
    raw: bytes
    tune: Tune
    label: str
    quality: str
    """The gated metric that the objective is set against."""
    trials: tuple[Trial, ...]
    ranking: tuple[Ranked, ...] | None
    """The nodes, the one that hurts most first; empty where none has to stay in float, None where no one asked."""
    best: Trial | None
    """The best one that passes; None where none does."""
    closest: Trial
    """The best one, or the one that misses its gates by least."""

    @property
    def front(self) -> tuple[Trial, ...]:
        """The trials that no other beats in objective and quality at once, the best objective first."""
        measured = [trial for trial in self.trials if self._point(trial) is not None]
        front = [t for t in measured if not any(self._beats(other, t) for other in measured)]
        unique = {self._point(trial): trial for trial in reversed(front)}
        return tuple(sorted(unique.values(), key=lambda trial: self._point(trial) or (), reverse=True))

    def _point(self, trial: Trial) -> tuple[float, float] | None:
        return _point(trial, self.tune.objective, self.quality)

    def _beats(self, one: Trial, other: Trial) -> bool:
        a, b = self._point(one), self._point(other)
        return a is not None and b is not None and a != b and a[0] >= b[0] and a[1] >= b[1]

    @property
    def is_changed(self) -> bool:
        """Whether the best spec is another than the one that is written."""
        return self.best is not None and self.best.text != self.raw


def _point(trial: Trial, objective: str, quality: str) -> tuple[float, float] | None:
    """Objective and quality, both the better the higher."""
    values = [_high(trial.metric(name), name) for name in (objective, quality)]
    first, second = values
    return None if first is None or second is None or not trial.is_measured else (first, second)


def _high(value: float | None, metric: str) -> float | None:
    return value if value is None or direction(metric) == "higher" else -value


def tune(asked: Asked, listener: Listener) -> Tuned:
    """The whole search. Raises ModelspecError where it cannot begin, or where nothing could be built."""
    raw = read(asked.file)
    loaded = load(asked.file, text=raw)
    block = loaded.spec.tune
    if block is None:
        raise fail("MS325", f"{asked.file.name} has no block 'tune'",
                   help="add tune: {data: validation, search: {quantize.int8.ranges: [minmax, entropy]}}")  # fmt: skip
    if not block.search and not asked.exclude_nodes:
        raise fail("MS325", "there is nothing to search", help="add tune.search, or use --exclude-nodes")
    if asked.exclude_nodes:
        quantized(loaded.spec)
    label = loaded.spec.targets[chosen_target(loaded.spec)].label
    bench = Bench(asked.file, raw, asked.cache, asked.settings, block, listener.event, listener.prepared)
    sampler = sampler_for(block) if block.search else None
    store = Store(asked.cache)
    store.require_private()
    with store.session() as folder, closing(Pool(folder)) as pool:
        search = _Search(replace(bench, settings=replace(asked.settings, pool=pool)), loaded, label, listener)
        _searched(search, sampler, asked.exclude_nodes)
    return search.result()


def _searched(search: "_Search", sampler: Sampler | None, exclude_nodes: bool) -> None:
    block, listener = search.bench.tune, search.listener
    listener.starts(tuple(dict.fromkeys((block.objective, search.quality))))
    search.try_(None, {})
    if sampler is not None:
        search.sample(sampler)
    if exclude_nodes:
        search.exclude()


@dataclass
class _Search:
    bench: Bench
    loaded: Loaded
    label: str
    listener: Listener
    trials: list[Trial] = field(default_factory=list)
    ranking: tuple[Ranked, ...] | None = None

    def try_(self, most: int | None, changes: Mapping[Place, Any]) -> Trial:
        """One trial, told to the listener; what was tried already is not built again."""
        for trial in self.trials:
            if trial.changes == changes:
                return trial
        number = len(self.trials)
        self.listener.begins(number, most, changes)
        trial = self.bench.run(number, changes)
        self.trials.append(trial)
        self.listener.ended(trial)
        return trial

    def sample(self, sampler: Sampler) -> None:
        """The points of the search."""
        block = self.bench.tune
        data = yaml.parse(self.bench.raw).data
        places = {path: place_of(path, data) for path in block.search}
        while (point := sampler.ask()) is not None:
            trial = self.try_(sampler.most, {places[path]: value for path, value in point.items()})
            sampler.tell(trial.metric(block.objective), trial.shortfall)

    def exclude(self) -> None:
        """From the best spec so far, or the closest, the fewest nodes that have to stay in float."""
        self.ranking = ()
        start = self.best() or self.closest()
        if start is not None and start.state is not State.PASSED:
            self.ranking = exclude(start, self.bench, lambda changes: self.try_(None, changes))

    def best(self) -> Trial | None:
        """Of those that pass the best by the objective, then by the quality, then the earliest."""
        passed = [trial for trial in self.trials if trial.state is State.PASSED]
        return max(passed, key=self._worth, default=None)

    def closest(self) -> Trial | None:
        measured = [trial for trial in self.trials if trial.is_measured]
        return min(measured, key=lambda trial: trial.shortfall, default=None)

    def _worth(self, trial: Trial) -> tuple[float, float]:
        return _point(trial, self.bench.tune.objective, self.quality) or (float("-inf"), float("-inf"))

    @property
    def quality(self) -> str:
        """What the objective is weighed against: another gated metric, one of evaluate before others."""
        evaluate = self.loaded.spec.blocks["evaluate"]
        label, objective = self.label, self.bench.tune.objective
        gated = [gate.metric for gate in evaluate.all_gates() if gate.targets is None or label in gate.targets]
        measured = [name.rpartition(":")[2] for name in evaluate.measured()] if evaluate.data else []
        names = (*sorted(gated, key=lambda name: name not in measured), *measured, "size")
        return next((name for name in names if name != objective), objective)

    def result(self) -> Tuned:
        best, closest = self.best(), self.closest()
        if closest is None:
            raise _none_built(self.trials)
        bench = self.bench
        return Tuned(
            self.loaded, bench.raw, bench.tune, self.label, self.quality, tuple(self.trials), self.ranking, best,
            best or closest,
        )  # fmt: skip


def _none_built(trials: list[Trial]) -> ModelspecError:
    """What stood in the way of every trial, each thing once."""
    found: dict[Diagnostic, None] = {}
    for trial in trials:
        found |= dict.fromkeys(trial.problems)
    return ModelspecError(tuple(found))


def write(tuned: Tuned) -> None:
    """Put the best spec in the place of the one that was read. Raises MS601 where that has changed since."""
    assert tuned.best is not None, "only what passes is written"
    file = tuned.loaded.file
    if read(file) != tuned.raw:
        raise fail("MS601", f"{file.name} changed during the search; nothing was written",
                   help="run it again: what was built is cached")  # fmt: skip
    real = Path(os.path.realpath(file))
    try:
        replace_file(real, tuned.best.text, real.stat().st_mode & 0o777)
    except OSError as error:
        raise fail(
            "MS402", f"{file.name} cannot be written: {error.strerror}", help="check the permissions of its folder"
        ) from error
