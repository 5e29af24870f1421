"""Gates: every limit, in its direction, on the targets it is for; what is missing fails."""

from typing import Any

import pytest

from modelspec.figures import Figures
from modelspec.gates import check, quantity, shown
from modelspec.metric import Gate
from modelspec.stages.evaluate import Evaluate


class Spec:
    """As much of a spec as gates look at."""

    def __init__(self, *gates: Gate, metrics: tuple[str, ...] = ("accuracy",), task: Any = None) -> None:
        self.blocks = {"evaluate": Evaluate(data="test", metrics=metrics, gates=gates, task=task)}


def results(
    spec: Spec, metrics: dict[str, float | None], source: dict[str, float | None] | None = None
) -> list[tuple[str, str, bool]]:
    found = {"cpu-int8": Figures(metrics, source or {}), "cpu-fp32": Figures(metrics, source or {})}
    return [(r.target, r.kind, r.passed) for r in check(spec, found)]  # type: ignore[arg-type]


def passed(gate: Gate, value: float | None, source: float | None = None, metric: str = "accuracy") -> bool:
    off = Gate(metric="accuracy", max_drop="off", reason="not the matter here")
    spec = Spec(gate) if gate.max_drop is not None else Spec(gate, off)
    return all(ok for _, _, ok in results(spec, {metric: value}, {metric: source}))


@pytest.mark.parametrize(("gate", "value", "source", "expected"), [
    (Gate(metric="accuracy", min=0.9), 0.9, None, True),
    (Gate(metric="accuracy", min=0.9), 0.8999, None, False),
    (Gate(metric="accuracy", min=0.9), None, None, False),
    (Gate(metric="accuracy", min=0.9), float("nan"), None, False),
    (Gate(metric="accuracy", max_drop=0.01), 0.98, 0.99, True),
    (Gate(metric="accuracy", max_drop=0.01), 0.97, 0.99, False),
    (Gate(metric="accuracy", max_drop=0.0), 0.99, 0.99, True),
    (Gate(metric="accuracy", max_drop=0.0), 1.0, 0.99, True),
    (Gate(metric="accuracy", max_drop="1%"), 0.495, 0.5, True),
    (Gate(metric="accuracy", max_drop="1%"), 0.494, 0.5, False),
    (Gate(metric="accuracy", max_drop=0.01), 0.98, None, False),
])  # fmt: skip
def test_limits(gate: Gate, value: float | None, source: float | None, expected: bool) -> None:
    assert passed(gate, value, source) is expected


@pytest.mark.parametrize(("gate", "value", "expected"), [
    (Gate(metric="size", max="1MB"), 1_000_000, True),
    (Gate(metric="size", max="1MB"), 1_000_001, False),
    (Gate(metric="size", max="1MiB"), 1_048_576, True),
    (Gate(metric="latency_p95", max="5ms"), 0.005, True),
    (Gate(metric="latency_p95", max="5ms"), 0.0051, False),
    (Gate(metric="latency_p95", max="5ms"), None, False),
])  # fmt: skip
def test_limits_with_units(gate: Gate, value: float | None, expected: bool) -> None:
    off = Gate(metric="accuracy", max_drop="off", reason="not the matter here")
    assert all(ok for _, _, ok in results(Spec(gate, off), {gate.metric: value})) is expected


def test_lower_is_better_for_errors() -> None:
    gate = Gate(metric="max_error", max_drop=0.5)
    spec = Spec(gate, metrics=("max_error",))
    assert all(ok for _, _, ok in results(spec, {"max_error": 2.4}, {"max_error": 2.0}))
    assert not any(ok for _, _, ok in results(spec, {"max_error": 2.6}, {"max_error": 2.0}))


def test_a_gate_holds_for_its_targets_only() -> None:
    gate = Gate(metric="accuracy", min=0.9, max_drop="off", reason="x", targets=("cpu-int8",))
    assert results(Spec(gate), {"accuracy": 0.5}) == [("cpu-int8", "min", False)]


def test_the_default_gate() -> None:
    assert results(Spec(), {"accuracy": 0.98}, {"accuracy": 0.99})[0] == ("cpu-int8", "max_drop", True)
    assert results(Spec(), {"accuracy": 0.97}, {"accuracy": 0.99})[0] == ("cpu-int8", "max_drop", False)
    assert results(Spec(Gate(metric="accuracy", max_drop="off", reason="why")), {"accuracy": 0}) == []
    assert results(Spec(metrics=("r2",)), {"r2": 0.1}, {"r2": 0.9}) == []
    assert len(results(Spec(metrics=("cosine_mean",)), {"cosine_mean": 0.985}, {"cosine_mean": 1.0})) == 2


def test_a_failed_gate_in_words() -> None:
    spec = Spec(Gate(metric="latency_p95", max="5ms"), Gate(metric="accuracy", max_drop=0.01))
    found = {"edge": Figures({"latency_p95": 0.0123, "accuracy": 0.9}, {"accuracy": 0.99})}
    late, lost = check(spec, found)  # type: ignore[arg-type]
    assert (shown(late).value, shown(late).verdict) == ("12.3 ms", "above the limit 5ms")
    assert shown(lost).verdict == "more than 0.0100 worse than the source's 0.9900"


@pytest.mark.parametrize(("gate", "value", "words"), [
    (Gate(metric="accuracy", min=0.95), 0.94999, ("0.94999", ">= 0.95000", "below the limit 0.95000")),
    (Gate(metric="accuracy", min=0.99999), 0.5, ("0.50000", ">= 0.99999", "below the limit 0.99999")),
    (Gate(metric="accuracy", min=0.99999), 1.0, ("1.00000", ">= 0.99999", "below the limit 0.99999")),
    (Gate(metric="accuracy", max_drop=0.01), 0.979, ("0.9790", "drop <= 0.0100", "")),
    (Gate(metric="accuracy", max_drop=0.01), 0.97999, ("0.97999", "drop <= 0.01000", "more than 0.01000 worse than the source's 0.99000")),
    (Gate(metric="accuracy", max_drop=0.01), 0.98, ("0.9800", "drop <= 0.0100", "")),
    (Gate(metric="accuracy", max_drop="1%"), 0.98, ("0.9800", "drop <= 0.0099", "")),
    (Gate(metric="size", max="3.1kB"), 3122, ("3.12 kB", "<= 3.1kB", "above the limit 3.1kB")),
    (Gate(metric="size", max="1MB"), 1_000_001, ("1.000001 MB", "<= 1MB", "above the limit 1MB")),
    (Gate(metric="latency_p95", max="5ms"), 0.0050001, ("5.0001 ms", "<= 5ms", "above the limit 5ms")),
])  # fmt: skip
def test_a_failed_gate_shows_the_digits_that_differ(gate: Gate, value: float, words: tuple[str, str, str]) -> None:
    spec = Spec(gate, metrics=("accuracy",))
    result = check(spec, {"edge": Figures({gate.metric: value}, {"accuracy": 0.99})})[0]  # type: ignore[arg-type]
    found = shown(result)
    assert (found.value, found.limit) == words[:2]
    assert found.verdict == words[2] or not words[2]


@pytest.mark.parametrize(("value", "metric", "expected"), [
    (512, "size", "512 B"), (31_935, "size", "31.9 kB"), (22_800_000, "size", "22.8 MB"), (3e9, "size", "3.0 GB"),
    (0.0012, "latency_p50", "1.2 ms"), (2.5, "latency_p50", "2.5 s"), (1234.5, "throughput", "1234/s"),
    (0.99561, "accuracy", "0.9956"), (None, "accuracy", "missing"),
])  # fmt: skip
def test_figures_as_people_read_them(value: float | None, metric: str, expected: str) -> None:
    assert quantity(value, metric) == expected
