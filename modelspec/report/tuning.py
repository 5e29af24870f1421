"""A search as text and as JSON: its trials as they come, the table, the front, the choice, and the change as a diff."""

import difflib
import json
from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from typing import Any

from modelspec import gates
from modelspec.build import Prepared
from modelspec.errors import Diagnostic
from modelspec.execute.events import Event, Failed, Finished, Started, Waiting
from modelspec.report.progress import LiveProgress, NoProgress, PlainProgress, Progress
from modelspec.report.style import Style
from modelspec.spec.edit import flow
from modelspec.spec.positions import Place
from modelspec.tune.trial import State, Trial
from modelspec.tune.tune import Listener, Tuned


class TuneProgress(Listener):
    """A line when a trial begins and one when it ended; on a terminal its actions as well, as a build shows them."""

    def __init__(self, shown: Progress, style: Style) -> None:
        self.shown, self.style = shown, style
        self.metrics: tuple[str, ...] = ()

    def starts(self, metrics: tuple[str, ...]) -> None:
        self.metrics = metrics

    def begins(self, number: int, most: int | None, changes: Mapping[Place, Any]) -> None:
        self._line(f"{self.style.bold(f'trial {number}')}{f' of {most}' if most else ''}  {changes_shown(changes)}")

    def ended(self, trial: Trial) -> None:
        reason = trial.problems[0] if trial.problems else None
        what = f"{reason.code} {reason.message}" if reason else _figures(trial, self.metrics)
        counts = "" if reason else f"  ({trial.ran} ran, {trial.cached} cached)"
        self._line(f"  {_state(trial, self.style)}  {what}{counts}")

    def prepared(self, prepared: Prepared) -> None:
        if isinstance(self.shown, LiveProgress):
            self.shown.resolved = prepared.resolved

    def event(self, event: Event) -> None:
        if isinstance(self.shown, LiveProgress) and isinstance(event, Started | Waiting | Finished | Failed):
            self.shown.event(event)

    def _line(self, text: str) -> None:
        if isinstance(self.shown, PlainProgress):
            self.shown.line(text)
        else:
            assert isinstance(self.shown, NoProgress)


def changes_shown(changes: Mapping[Place, Any]) -> str:
    """What a trial changes, on one line."""
    return ", ".join(f"{_path(place)}={flow(value)}" for place, value in changes.items()) or "as written"


def _path(place: Place) -> str:
    return ".".join(map(str, place))


def _state(trial: Trial, style: Style) -> str:
    color = style.green if trial.state is State.PASSED else style.red
    return color(trial.state) + " " * (len(State.REFUSED) - len(trial.state))


def _figures(trial: Trial, metrics: tuple[str, ...]) -> str:
    return "  ".join(f"{name} {gates.quantity(trial.metric(name), name)}" for name in metrics)


def as_text(tuned: Tuned, style: Style) -> str:
    """The table of trials, the ranking of nodes, the front, the choice and the change."""
    metrics = tuple(dict.fromkeys((tuned.tune.objective, tuned.quality)))
    on = f" on {tuned.tune.data}" if tuned.tune.data else ""
    lines = [f"{style.bold('trials')}  {tuned.label}{on}"]
    widths = [max([len(name), *(len(gates.quantity(t.metric(name), name)) for t in tuned.trials)]) for name in metrics]
    head = "  ".join(f"{name:>{width}}" for name, width in zip(metrics, widths, strict=True))
    lines.append(f"  {'#':>3}  {'':<7}  {head}")
    for trial in tuned.trials:
        cells = [gates.quantity(trial.metric(name), name) if trial.is_measured else "" for name in metrics]
        row = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        lines.append(f"  {trial.number:>3}  {_state(trial, style)}  {row}  {changes_shown(trial.changes)}")
        lines += [f"       {problem.code} {problem.message}" for problem in trial.problems[:1]]
    lines += _nodes(tuned, style)
    lines.append(f"{style.bold('front')}  {' against '.join(metrics)}")
    lines += [f"  {t.number:>3}  {_state(t, style)}  {_figures(t, metrics)}" for t in tuned.front]
    if tuned.best is None:
        return "\n".join(lines) + "\n"
    lines.append(f"{style.bold('best')}  trial {tuned.best.number}: {_figures(tuned.best, metrics)}")
    if not tuned.is_changed:
        lines.append("nothing to change  the spec as it is written is the best of them")
    return "\n".join(lines) + "\n"


def _nodes(tuned: Tuned, style: Style) -> list[str]:
    if tuned.ranking is None:
        return []
    if not tuned.ranking:
        return [f"{style.bold('nodes')}  none has to stay in float"]
    lines = [f"{style.bold('nodes')}  how far the outputs move when one alone is quantized, as a share"]
    for place, row in enumerate(tuned.ranking, 1):
        moved = "no numbers" if row.error is None else f"{row.error:.4g}"
        lines.append(f"  {place:>3}  {moved:>10}  {row.node}  ({row.op})")
    return lines


def diff(tuned: Tuned) -> str:
    """What the best spec changes in the file, as a unified diff."""
    if tuned.best is None:
        return ""
    name = tuned.loaded.file.name
    old, new = (raw.decode("utf-8").splitlines(keepends=True) for raw in (tuned.raw, tuned.best.text))
    lines = list(difflib.unified_diff(old, new, name, name))
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def problem(tuned: Tuned) -> Diagnostic:
    """That nothing passes: the closest, and by how much it misses."""
    trial, resolved = tuned.closest, tuned.loaded
    count = sum(one.is_measured for one in tuned.trials)
    builds = "the only build does not pass" if count == 1 else f"none of {count} builds passes"
    missed = [(gate, gates.shown(gate)) for gate in trial.gates if not gate.passed]
    said = "; ".join(f"{gate.metric} is {words.value}, {words.verdict}" for gate, words in missed)
    return Diagnostic(
        "MS523",
        f"{builds} the gates; the closest is trial {trial.number}: {said}",
        why=f"it changes {changes_shown(trial.changes)}" if trial.changes else "it is the spec as written",
        help="search more values or other keys, try --exclude-nodes, or change the limit",
        file=str(resolved.file),
        span=resolved.positions.key(("tune",)),
        path=("tune",),
    )


def as_json(tuned: Tuned, *, written: bool) -> str:
    """The same for machines."""
    value = {
        "formatVersion": 1,
        "target": tuned.label,
        "data": tuned.tune.data,
        "objective": tuned.tune.objective,
        "quality": tuned.quality,
        "trials": [_trial(trial) for trial in tuned.trials],
        "ranking": None if tuned.ranking is None else [asdict(row) for row in tuned.ranking],
        "front": [trial.number for trial in tuned.front],
        "best": tuned.best.number if tuned.best else None,
        "closest": tuned.closest.number,
        "ran": sum(trial.ran for trial in tuned.trials),
        "cached": sum(trial.cached for trial in tuned.trials),
        "diff": diff(tuned),
        "written": written,
    }
    return json.dumps(value, indent=2) + "\n"


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.value,
        "changes": {_path(place): value for place, value in trial.changes.items()},
        "metrics": trial.figures.metrics,
        "gates": [asdict(gate) for gate in trial.gates],
        "shortfall": trial.shortfall if isfinite(trial.shortfall) else None,
        "problems": [{"code": p.code, "message": p.message, "help": p.help} for p in trial.problems],
        "ran": trial.ran,
        "cached": trial.cached,
    }
