"""Recorded figures and gates, computed again from what is published."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from pydantic import ValidationError

from modelspec import gates
from modelspec.errors import Diagnostic, ModelspecError
from modelspec.figures import Figures
from modelspec.gates import GateResult
from modelspec.metric import Gate, direction
from modelspec.publication import BUILD
from modelspec.verify.files import Files
from modelspec.verify.published import Published
from modelspec.verify.record import AGAIN, BuildSaid, GateSaid, MetricsSaid, read_metrics


def read(folder: Path, build: BuildSaid, files: Files) -> tuple[dict[str, MetricsSaid], list[Diagnostic]]:
    """metrics.json of each target whose file is sound, and what is wrong with them."""
    found: dict[str, MetricsSaid] = {}
    problems: list[Diagnostic] = []
    for label in build.metrics:
        if files.sound([f"{label}/metrics.json"]):
            try:
                found[label] = read_metrics(folder, label)
            except ModelspecError as error:
                problems += error.diagnostics
    return found, problems


def check_metrics(published: Published) -> Iterator[Diagnostic]:
    """build.json against metrics.json and its own measured figures, and the size against the files."""
    build = published.build
    for label, metrics in published.metrics.items():
        recorded, found = build.metrics[label], _figures(build, label, metrics).metrics
        for name in sorted({*recorded, *found}):
            if name not in recorded or name not in found or recorded[name] != found[name]:
                texts = [repr(values[name]) if name in values else "nothing" for values in (recorded, found)]
                yield Diagnostic("MS604", f"{name} of {label}: {BUILD} says {texts[0]}, the figures of the build {texts[1]}", help=AGAIN)  # fmt: skip
        paths = [path for name in build.artifact(label) if (path := f"{label}/{name}") in published.files.digests]
        size = sum((published.folder / path).stat().st_size for path in paths)
        said = metrics.metrics.get("size")
        if not paths or said != size:
            told = "nothing" if said is None else f"{said:.0f}"
            yield Diagnostic("MS604", f"the artifact of {label} has {size} bytes, and its metrics.json says {told}", help=AGAIN)  # fmt: skip


def check_gates(published: Published) -> tuple[list[GateResult], list[Diagnostic]]:
    """Each recorded gate judged again: MS604 where the record says otherwise, MS502 where the gate fails."""
    build, said = published.build, published.metrics
    results: list[GateResult] = []
    problems: list[Diagnostic] = []
    for gate in build.gates:
        if gate.target not in build.metrics:
            problems.append(Diagnostic("MS604", f"a gate of {BUILD} is on {gate.target}, which is no target of it", help=AGAIN))  # fmt: skip
        elif gate.target in said:
            found = _judged(gate, _figures(build, gate.target, said[gate.target]))
            results += [] if found is None else [found]
            problems += _gate_problems(gate, found)
    return results, problems


def _figures(build: BuildSaid, label: str, said: MetricsSaid) -> Figures:
    """The figures of a target: the reproducible ones of metrics.json, the measured ones of build.json."""
    measured = build.measured.get(label, {})
    merged = {**said.metrics, **{name: v for stage in measured.values() for name, v in stage.metrics.items()}}
    return Figures(merged, dict(said.source))


def _judged(said: GateSaid, figures: Figures) -> GateResult | None:
    """The result of a recorded gate; None where its limit is no limit."""
    try:
        gate = Gate.model_validate({"metric": said.metric, said.kind: said.written})
    except ValidationError:
        return None
    return next(iter(gates.limits(gate, said.target, figures, said.index, direction(said.metric))), None)


def _gate_problems(said: GateSaid, found: GateResult | None) -> Iterator[Diagnostic]:
    name = f"the gate {said.kind} on {said.metric} of {said.target}"
    if found is None:
        yield Diagnostic("MS604", f"{name} has the limit {said.written!r} in {BUILD}, which is none", help=AGAIN)
        return
    recorded = said.model_dump()
    for field, value in asdict(found).items():
        if recorded[field] != value and field in {"value", "limit", "source"}:
            yield Diagnostic("MS604", f"{name} has the {field} {recorded[field]!r} in {BUILD}, and it is {value!r}", help=AGAIN)  # fmt: skip
    if not found.passed:
        shown = gates.shown(found)
        yield Diagnostic("MS502", f"{found.metric} of {found.target} is {shown.value}, {shown.verdict}", why=shown.why, help="do not ship it")  # fmt: skip
    elif not said.passed:
        yield Diagnostic("MS604", f"{name} is recorded as failed in {BUILD}, and it passes", help=AGAIN)
