"""Which combination of values to try next: all of them in order, or what a seeded estimator proposes."""

import itertools
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from modelspec import toolchain
from modelspec.errors import fail
from modelspec.metric import direction
from modelspec.spec.tune import Range, Tune

if TYPE_CHECKING:
    from optuna import Study, Trial

Point = Mapping[str, Any]
"""Values by the paths of their keys."""
_DIGITS = 6
"""Significant digits of a number from a range without a step: more would say nothing, and be read by people."""
_NO_NUMBER = 1e9
"""How far a build whose metric is no number is said to be from its gates."""
_REPETITIONS = 20
"""Proposals that were all tried before, after which the next untried point is taken, where they can be listed."""


class Sampler(Protocol):
    """Proposes points, and hears how good they were."""

    @property
    @abstractmethod
    def most(self) -> int:
        """How many points there will be, at most."""

    def ask(self) -> Point | None:
        """The next point; None at the end."""

    def tell(self, objective: float | None, shortfall: float) -> None:
        """How good the last point was; an objective of None says that it could not be built."""


def sampler_for(tune: Tune) -> Sampler:
    """The sampler that the block asks for. Raises MS401."""
    return Grid(tune) if tune.sampler == "grid" else Tpe(tune)


def listed(values: Any) -> tuple[Any, ...] | None:
    """The values of one key; None where there are too many to list."""
    return values.values() if isinstance(values, Range) else tuple(values)


class Grid:
    """Every combination; the last key changes first."""

    def __init__(self, tune: Tune) -> None:
        keys = [listed(values) or () for values in tune.search.values()]
        points = itertools.product(*keys)
        self._points = [dict(zip(tune.search, point, strict=True)) for point in points]
        self._next = iter(self._points)

    @property
    def most(self) -> int:
        return len(self._points)

    def ask(self) -> Point | None:
        return next(self._next, None)

    def tell(self, objective: float | None, shortfall: float) -> None:
        """What was found changes nothing."""


class Tpe:
    """Optuna's tree-structured Parzen estimator; a point that it proposes again is told what it was, and counts once."""

    def __init__(self, tune: Tune) -> None:
        if toolchain.missing(["optuna"]):
            raise fail(
                "MS401", "not installed: optuna", help="pip install 'modelspec-build[tune]', or write sampler: grid"
            )
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=tune.seed)
        lower = direction(tune.objective) == "lower"
        self._study: Study = optuna.create_study(sampler=sampler, direction="minimize" if lower else "maximize")
        self._search, self._trials = tune.search, tune.trials
        self._told: dict[str, tuple[float | None, float]] = {}
        self._asked: tuple[Trial, str] | None = None

    @property
    def most(self) -> int:
        return min(self._trials, self._size())

    def _size(self) -> int:
        size = 1
        for values in self._search.values():
            found = listed(values)
            if found is None:
                return self._trials
            size = min(size * len(found), self._trials)
        return size

    def ask(self) -> Point | None:
        if len(self._told) >= self.most:
            return None
        for _ in range(_REPETITIONS):
            if (point := self._proposed()) is not None:
                return point
        return self._untried()

    def _untried(self) -> Point | None:
        keys = [values for values in map(listed, self._search.values()) if values is not None]
        if len(keys) < len(self._search):
            return None
        for numbers in itertools.product(*(range(len(values)) for values in keys)):
            point = {path: keys[at][numbers[at]] for at, path in enumerate(self._search)}
            if repr(point) not in self._told:
                self._study.enqueue_trial(dict(zip(self._search, numbers, strict=True)))
                return self._proposed()
        return None

    def _proposed(self) -> Point | None:
        """What the estimator proposes, if that is new."""
        trial = self._study.ask()
        point = {path: self._value(trial, path, values) for path, values in self._search.items()}
        self._asked = (trial, repr(point))
        if (told := self._told.get(repr(point))) is None:
            return point
        self.tell(*told)
        return None

    def _value(self, trial: "Trial", path: str, values: Any) -> Any:
        if not isinstance(values, Range):
            # By number, because optuna takes no lists or mappings as values.
            return values[trial.suggest_categorical(path, range(len(values)))]
        if (steps := values.values()) is not None:
            return steps[trial.suggest_int(path, 0, len(steps) - 1)]
        if values.is_whole:
            return trial.suggest_int(path, int(values.low), int(values.high), log=values.log)
        found = trial.suggest_float(path, values.low, values.high, log=values.log)
        return min(max(float(f"{found:.{_DIGITS}g}"), values.low), values.high)

    def tell(self, objective: float | None, shortfall: float) -> None:
        from optuna.trial import TrialState

        assert self._asked is not None, "an answer follows a question"
        trial, name = self._asked
        self._told[name] = (objective, shortfall)
        if objective is None:
            self._study.tell(trial, state=TrialState.FAIL)
            return
        trial.set_constraint("gates", min(shortfall, _NO_NUMBER))
        self._study.tell(trial, objective)
