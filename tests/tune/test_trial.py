"""How near a build is to its gates, which trials are worth a look, and which one is chosen."""

import math
from pathlib import Path

import pytest

from modelspec.errors import Diagnostic
from modelspec.figures import Figures
from modelspec.gates import GateResult, limits
from modelspec.metric import Gate, direction
from modelspec.spec.load import Loaded, load
from modelspec.spec.tune import Tune
from modelspec.tune.trial import State, Trial
from modelspec.tune.tune import Tuned


def gate(
    kind: str, value: float | None, limit: float, source: float | None = None, metric: str = "accuracy"
) -> GateResult:
    """The result of one limit."""
    written = Gate.model_validate({"metric": metric, kind: limit})
    return limits(written, "cpu", Figures({metric: value}, {metric: source}), 0, direction(metric))[0]


def trial(number: int, size: float, accuracy: float, *gates: GateResult) -> Trial:
    return Trial(number, {}, b"", Figures({"size": size, "accuracy": accuracy}), gates)


@pytest.mark.parametrize(
    ("one", "shortfall"),
    [
        (gate("min", 0.8, 0.8), 0.0),
        (gate("min", 0.6, 0.8), 0.25),
        (gate("max", 150.0, 100.0, metric="size"), 0.5),
        (gate("max_drop", 0.85, 0.01, source=0.9), 0.04 / 0.9),
        (gate("max_drop", 2.0, 0.5, source=1.0, metric="log_loss"), 0.5),
        (gate("min", None, 0.8), math.inf),
        (gate("max_drop", 0.8, 0.01), math.inf),
    ],
)
def test_the_shortfall_is_a_share_of_the_limit(one: GateResult, shortfall: float) -> None:
    assert trial(0, 1, 1, one).shortfall == pytest.approx(shortfall)
    assert (trial(0, 1, 1, one).state is State.PASSED) == (shortfall == 0)


def test_refused_and_broken_are_told_apart() -> None:
    spec, stage = Diagnostic("MS319", "x"), Diagnostic("MS510", "x")
    assert Trial(0, {}, b"", problems=(spec,)).state is State.REFUSED
    assert Trial(0, {}, b"", problems=(spec, stage)).state is State.BROKEN


@pytest.fixture
def loaded(project: Path) -> Loaded:
    text = b'apiVersion: modelspec/v1\nname: x\nversion: "1.0.0"\ntargets: [{device: cpu}]\n'
    return load(project / "model.yaml", text=text + b"source: {framework: onnx, artifact: model.onnx}\n")


def test_the_front_holds_what_nothing_beats(loaded: Loaded) -> None:
    trials = (
        trial(0, 10, 0.9), trial(1, 8, 0.8), trial(2, 9, 0.7), trial(3, 12, 0.95), trial(4, 12, 0.9), trial(5, 8, 0.8),
        Trial(6, {}, b"", Figures({"size": 1}), ()),
    )  # fmt: skip
    found = Tuned(loaded, b"", Tune(), "cpu", "accuracy", trials, None, None, trials[0])
    assert [one.number for one in found.front] == [1, 0, 3]
