"""The result of a build, a plan or an inspection as text and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from modelspec import gates, toolchain
from modelspec.build import Outcome, Prepared
from modelspec.gates import GateResult
from modelspec.match import Match, Reason, State
from modelspec.options import bytes_shown
from modelspec.publication import images_of
from modelspec.report.layers import images_lines
from modelspec.report.progress import actions_counted, reason_shown, relative
from modelspec.report.style import Style
from modelspec.target import Target


def build_text(outcome: Outcome, style: Style) -> str:
    """Gates with value and limit, what was written, what stayed or went, what to do next."""
    lines: list[str] = []
    if outcome.gates:
        lines += ["gates", *gate_lines(outcome.gates, style)]
    if outcome.folder is not None and not outcome.current:
        lines += images_lines(outcome.folder, outcome.figures)
    counts = f"{outcome.ran} ran, {outcome.cached} cached"
    if outcome.folder is None:
        lines.append(f"done  {counts}; nothing is published with --until")
    elif outcome.current:
        lines.append(f"nothing to do  {relative(outcome.folder)} is up to date ({counts})")
    else:
        verb = "replaced" if outcome.replaced else "wrote"
        lines.append(f"{verb}  {relative(outcome.folder)}  ({counts})")
        if outcome.replaced:
            lines.append("note  this version had other content; raise `version` before you ship it")
        lines.append(f"next  modelspec inspect {relative(outcome.folder)}")
    if outcome.kept:
        lines.append(f"kept  {', '.join(outcome.kept)}")
    if outcome.dropped:
        lines.append(f"dropped  {', '.join(outcome.dropped)}: no longer what the spec asks for")
    return "\n".join(lines) + "\n"


def gate_lines(results: Sequence[GateResult], style: Style) -> list[str]:
    """A line for each limit, in columns as wide as what is in them."""
    shown = [gates.shown(gate) for gate in results]
    rows = [(gate.target, gate.metric, one.value, one.limit) for gate, one in zip(results, shown, strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [_gate_line(gate, row, widths, style) for gate, row in zip(results, rows, strict=True)]


def _gate_line(gate: GateResult, row: tuple[str, ...], widths: list[int], style: Style) -> str:
    (target, metric, value, limit), (first, second, third, fourth) = row, widths
    verdict = style.green("ok") if gate.passed else style.red("FAILED")
    source = f"  (source {gates.quantity(gate.source, gate.metric)})" if gate.kind == "max_drop" else ""
    return f"  {target:<{first}}  {metric:<{second}}  {value:>{third}}  {limit:<{fourth}}  {verdict}{source}"


def build_json(outcome: Outcome) -> str:
    """The same for machines."""
    images = images_of(outcome.folder, outcome.figures) if outcome.folder else {}
    value: dict[str, Any] = {
        "formatVersion": 1,
        "folder": str(outcome.folder) if outcome.folder else None,
        "changed": not outcome.current,
        "replaced": outcome.replaced,
        "ran": outcome.ran,
        "cached": outcome.cached,
        "kept": outcome.kept,
        "dropped": outcome.dropped,
        "gates": [asdict(gate) for gate in outcome.gates],
        "metrics": {label: figures.metrics for label, figures in outcome.figures.items()},
        "images": {label: said.deployed.digest for label, said in images.items()},
        "warnings": [{"code": w.code, "message": w.message, "help": w.help} for w in outcome.warnings],
    }
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def plan_text(prepared: Prepared, style: Style) -> str:
    """Each action with its state and the reason."""
    matches = [prepared.matches[id_] for id_ in prepared.plan.actions]
    width = max(len(match.action.label) for match in matches)
    states = 2 + max(len(State.CACHED), *(len(match.state) for match in matches))
    lines = []
    for match in matches:
        state = style.yellow(match.state) if match.is_work else style.green(match.state)
        padding = " " * (states - len(match.state))
        reason = reason_shown(match.reasons, prepared.resolved)
        lines.append(f"  {match.action.label:<{width}}  {state}{padding}{reason}".rstrip())
    lines.append(actions_counted(matches))
    return "\n".join(lines) + "\n"


def plan_json(prepared: Prepared) -> str:
    """The same for machines, with keys and paths into the spec."""
    actions = [_match_json(prepared.matches[id_]) for id_ in prepared.plan.actions]
    return json.dumps({"formatVersion": 1, "actions": actions}, indent=2) + "\n"


def plan_matrix(prepared: Prepared) -> str:
    """A job for each target, on one line, for `fromJSON` in a workflow of GitHub Actions."""
    targets = {target.label: target for target in prepared.resolved.loaded.spec.targets}
    return json.dumps({"include": [_job(prepared, targets[label]) for label in prepared.plan.targets]}) + "\n"


def _job(prepared: Prepared, target: Target) -> dict[str, Any]:
    actions = prepared.plan.only([target.label]).actions
    work = any(prepared.matches[id_].is_work for id_ in actions)
    return {
        "target": target.label,
        "device": target.device_name,
        "precision": target.chosen_precision,
        "state": "work" if work else "cached",
    }


def _match_json(match: Match) -> dict[str, Any]:
    return {
        "label": match.action.label,
        "stage": match.action.stage.name,
        "targets": list(match.action.targets),
        "state": match.state.value,
        "key": match.key or None,
        "determinism": match.action.determinism.value,
        "reasons": [{"text": reason.text, "path": reason.path} for reason in match.reasons],
    }


def why_text(prepared: Prepared, matches: list[Match]) -> str:
    """The whole difference between now and the last record of each action, changed leaves only."""
    lines: list[str] = []
    for match in matches:
        lines.append(f"{match.action.label}  {match.state}")
        lines += [f"  {_change(reason, prepared)}" for reason in match.reasons]
        if match.state is State.CACHED:
            lines.append("  nothing that can change its result has changed")
    return "\n".join(lines) + "\n"


def _change(reason: Reason, prepared: Prepared) -> str:
    """One leaf, the values in full."""
    words = reason_shown((reason,), prepared.resolved)
    if not reason.leaf:
        return words
    old, new = (json.dumps(value, ensure_ascii=False) for value in (reason.old, reason.new))
    return f"{words}\n    - {old}\n    + {new}"


def why_json(matches: list[Match]) -> str:
    """The same for machines."""
    value = {
        "formatVersion": 1,
        "actions": [
            {
                **_match_json(match),
                "changes": [{"leaf": r.leaf, "old": r.old, "new": r.new} for r in match.reasons if r.leaf],
            }
            for match in matches
        ],
    }
    return json.dumps(value, indent=2) + "\n"


def has_work(prepared: Prepared) -> bool:
    """Whether a build would run anything."""
    return any(prepared.matches[id_].is_work for id_ in prepared.plan.actions)


def inspect_text(folder: Path, style: Style) -> str:
    """What lies in a published folder: targets, files, figures, gates, how each action came about."""
    build = json.loads((folder / "build.json").read_bytes())
    lines = [f"{style.bold(build['name'])} {build['version']}  modelspec {build['tools']['modelspec']}"]
    for label, metrics in sorted(build["metrics"].items()):
        lines.append(f"\n{style.bold(label)}")
        lines += [f"  {name:<16} {gates.quantity(value, name)}" for name, value in sorted(metrics.items())]
        runtime = folder / label / "runtime.json"
        if runtime.is_file():
            said = json.loads(runtime.read_bytes())
            lines.append(f"  {'runtime':<16} {_flat(said)}")
            lines += [f"  {'cpu':<16} {line}" for line in _needs(said.get("cpu"), style)]
            lines += [f"  {'compressed':<16} {line}" for line in _packed(said.get("package"))]
        lines += [f"  {side[:-1]:<16} {_tensor(t)}" for side, tensors in _signature(folder / label) for t in tensors]
    if images := images_lines(folder, build["metrics"]):
        lines += ["", *images]
    if build["gates"]:
        lines.append(f"\n{style.bold('gates')}")
        lines += gate_lines([GateResult(**gate) for gate in build["gates"]], style)
    lines.append(f"\n{style.bold('actions')}")
    width = max(len(action["label"]) for action in build["actions"])
    lines += [
        f"  {a['label']:<{width}}  {a['state']:<7} {a['determinism']:<9} {a['key'][:12]}" for a in build["actions"]
    ]
    lines.append(f"\n{style.bold('files')}")
    lines += [f"  {line[:12]}  {line[66:]}" for line in (folder / "checksums.txt").read_text().splitlines()]
    return "\n".join(lines) + "\n"


def _signature(folder: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    try:
        return list(json.loads((folder / "signature.json").read_bytes()).items())
    except OSError:
        return []


def _tensor(tensor: dict[str, Any]) -> str:
    return f"{tensor['name']}  {tensor['dtype']} [{', '.join(map(str, tensor['shape']))}]"


def _needs(cpu: dict[str, Any] | None, style: Style) -> list[str]:
    """What the model needs of a CPU, with a warning where this one lacks it."""
    if cpu is None:
        return []
    lacking = toolchain.lacks(toolchain.fact("isa"), cpu["needs"])
    here = style.yellow("  warning: not this CPU, where sums saturate") if lacking else ""
    return [f"needs {' or '.join(cpu['needs'])}, or no AVX2{here}"]


def _packed(package: dict[str, Any] | None) -> list[str]:
    """Each compressed file: what it is, and what it becomes."""
    if package is None:
        return []
    return [
        f"{file['packed']}  {package['compression']} of {bytes_shown(file['size'])}, {file['sha256'][:12]}"
        for file in package["files"]
    ]


def _flat(value: dict[str, Any]) -> str:
    return "  ".join(f"{key}={item}" for key, item in value.items() if not isinstance(item, dict | list))
