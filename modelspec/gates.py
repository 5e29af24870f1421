"""Metrics against limits: a pure function, so that changing a limit runs nothing again."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from modelspec.errors import Diagnostic, ModelspecError
from modelspec.figures import Figures, StageFigures, merged
from modelspec.metric import METRICS, Gate, limit_value
from modelspec.options import bytes_shown
from modelspec.plan import Plan, TargetPlan
from modelspec.resolve import Resolved
from modelspec.spec.model import ModelSpec
from modelspec.stage import Determinism
from modelspec.store.record import Record


@dataclass(frozen=True)
class GateResult:
    """One limit of one gate on one target. `index` is the gate's place in the spec; None for a default one."""

    target: str
    metric: str
    kind: str
    value: float | None
    limit: float
    written: float | str
    source: float | None
    passed: bool
    index: int | None


@dataclass
class GateError(ModelspecError):
    """Gates that failed, with everything that was measured."""

    results: tuple[GateResult, ...] = ()
    figures: Mapping[str, Figures] = field(default_factory=dict)


def figures(plan: Plan, target: TargetPlan, records: Mapping[str, Record], read: Callable[[str], bytes]) -> Figures:
    """Merge the metrics files of a target's chain; `read` gives the bytes of a digest."""
    files = []
    for made in target.metrics:
        action = plan.actions[made.action]
        name = action.stage.name
        value = json.loads(read(records[made.action].slot("metrics")[f"{name}.json"]))
        files.append(StageFigures(name, value, action.determinism is Determinism.MEASURED))
    return merged(files)


def check(spec: ModelSpec, found: Mapping[str, Figures]) -> list[GateResult]:
    """Every limit of every gate, on every target it holds for."""
    evaluate = spec.blocks.get("evaluate")
    if evaluate is None:
        return []
    written = list(evaluate.gates)
    results: list[GateResult] = []
    for gate in evaluate.all_gates():
        index = written.index(gate) if gate in written else None
        for target, values in found.items():
            if gate.targets is None or target in gate.targets:
                results += limits(gate, target, values, index, evaluate.direction(gate.metric))
    return results


def limits(gate: Gate, target: str, values: Figures, index: int | None, better: str) -> list[GateResult]:
    """Every limit of one gate on one target."""
    value = _number(values.metrics.get(gate.metric))
    source = _number(values.source.get(gate.metric))
    results: list[GateResult] = []

    def add(kind: str, written: float | str, limit: float, passed: bool) -> None:
        results.append(GateResult(target, gate.metric, kind, value, limit, written, source, passed, index))

    if gate.min is not None:
        limit = limit_value(gate.min)
        add("min", gate.min, limit, value is not None and value >= limit)
    if gate.max is not None:
        limit = limit_value(gate.max)
        add("max", gate.max, limit, value is not None and value <= limit)
    if gate.max_drop is not None and gate.max_drop != "off":
        limit = _drop_limit(gate.max_drop, source)
        drop = _drop(value, source, better)
        # The last bits of a difference of decimals are noise: 0.99 - 0.98 is a little more than 0.01.
        add("max_drop", gate.max_drop, limit, drop is not None and drop <= limit + 1e-9)
    return results


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _drop(value: float | None, source: float | None, better: str) -> float | None:
    if value is None or source is None:
        return None
    return source - value if better == "higher" else value - source


def _drop_limit(written: float | str, source: float | None) -> float:
    if isinstance(written, str):
        return float(written.removesuffix("%")) / 100 * abs(source or 0.0)
    return written


def unit(metric: str) -> str:
    """The unit of a metric, for people."""
    return METRICS[metric].unit if metric in METRICS else ""


@dataclass(frozen=True)
class Shown:
    """A gate's result in words."""

    value: str
    limit: str
    verdict: str
    why: str


def shown(result: GateResult) -> Shown:
    """A result with its units, and with as many digits as it takes to see why it passed or failed."""
    more = _digits_needed(result)
    value = quantity(result.value, result.metric, more)
    limit = (
        result.written
        if isinstance(result.written, str) and result.kind != "max_drop"
        else quantity(result.limit, result.metric, more)
    )
    if result.value is None:
        return Shown("missing or not a number", _limit_words(result.kind, limit), "so the gate fails", "")
    if result.kind != "max_drop":
        words = {"min": "below the limit", "max": "above the limit"}[result.kind]
        return Shown(value, _limit_words(result.kind, limit), f"{words} {limit}", "")
    source = quantity(result.source, result.metric, more)
    return Shown(value, _limit_words("max_drop", limit), f"more than {limit} worse than the source's {source}", "")


def problem(result: GateResult, resolved: Resolved) -> Diagnostic:
    """A failed gate with the measured value, the limit, and the line of the gate."""
    words = shown(result)
    place = ("evaluate",) if result.index is None else ("evaluate", "gates", result.index, result.kind)
    origin = " (the default gate)" if result.index is None else ""
    return Diagnostic(
        "MS502",
        f"{result.metric} of {result.target} is {words.value}, {words.verdict}{origin}",
        why=words.why,
        help="improve the model or the options, or change the limit",
        file=str(resolved.loaded.file),
        span=resolved.loaded.positions.value(place),
        path=place,
    )


def _digits_needed(result: GateResult) -> int:
    """Digits beyond the usual ones at which the limit is what was written, and a value beyond it looks so."""
    measured = result.value
    if result.kind == "max_drop" and result.value is not None and result.source is not None:
        measured = abs(result.source - result.value)
    for more in range(_MOST_DIGITS):
        limit = quantity(result.limit, result.metric, more)
        exact = isinstance(result.written, str) or float(limit.split("/")[0]) == result.limit
        if exact and (result.passed or quantity(measured, result.metric, more) != limit):
            return more
    return _MOST_DIGITS


def _limit_words(kind: str, limit: str) -> str:
    return {"min": f">= {limit}", "max": f"<= {limit}", "max_drop": f"drop <= {limit}"}[kind]


def quantity(value: float | None, metric: str, more: int = 0) -> str:
    """A figure as people read it: 31.9 kB, 1.20 ms, 0.9956; with `more` digits where those do not tell enough."""
    if value is None:
        return "missing"
    kind = unit(metric)
    if kind == "bytes":
        return bytes_shown(value, 1 + more)
    if kind == "seconds":
        return f"{value * 1e3:.{3 + more}g} ms" if value < 1 else f"{value:.{3 + more}g} s"
    if kind == "per second":
        return f"{value:.{4 + more}g}/s"
    return f"{value:.{4 + more}f}"


_MOST_DIGITS = 12
_BYTES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
