"""What `verify` found, as text and as JSON."""

import json
from dataclasses import asdict
from typing import Any

from modelspec.meaning.verdict import Verdict
from modelspec.report.human import visible
from modelspec.report.machine import objects
from modelspec.report.progress import relative
from modelspec.report.style import Style
from modelspec.verify.golden import Replayed
from modelspec.verify.rebuild import Rebuilt
from modelspec.verify.verify import Verification

_MOST_FINDINGS = 20
_GOOD = (Verdict.EXACT, Verdict.EQUIVALENT)


def as_text(found: Verification, style: Style) -> str:
    """What was looked at, with the verdicts; the problems are told apart."""
    failed = sum(not gate.passed for gate in found.gates)
    lines = [f"files    {found.files} hashed"]
    lines += [f"golden   {one.target}: {_golden(one, style)}" for one in found.targets]
    lines += [f"golden   {label}: {style.yellow('not run')}, {reason}" for label, reason in found.unrun.items()]
    lines.append(f"gates    {len(found.gates) - failed} pass, {failed} fail")
    if found.others:
        lines.append(f"note     not the environment of the build: {', '.join(found.others)}")
    if found.rebuilt is not None:
        lines += _rebuilt(found.rebuilt, style)
    if found.problems:
        lines.append(f"{style.red('failed')}   {relative(found.folder)}: {_count(len(found.problems), 'problem')}")
    else:
        counts = (_count(found.files, "file"), _count(len(found.targets), "target"), _count(len(found.gates), "gate"))
        lines.append(f"{style.green('verified')} {relative(found.folder)}: {', '.join(counts)}")
    return "\n".join(lines) + "\n"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _shown(verdict: Verdict, style: Style) -> str:
    if verdict in _GOOD:
        return style.green(verdict)
    return style.yellow(verdict) if verdict is Verdict.WITHIN else style.red(verdict)


def _golden(one: Replayed, style: Style) -> str:
    gap = f", by up to {one.max_abs:.3g}" if one.max_abs else ""
    expected = "the same bits" if one.promised is Verdict.EXACT else "a small difference"
    lacks = f"; {style.yellow('warning')}: this CPU lacks {' or '.join(one.lacks)}, which it needs" if one.lacks else ""
    return f"{_shown(one.verdict, style)}{gap} ({expected} can be expected here){lacks}"


def _rebuilt(rebuilt: Rebuilt, style: Style) -> list[str]:
    """The verdict with the environment, then every file that is not exact, with what was found."""
    varied = ", ".join(f"{name} {value}" for name, value in rebuilt.varied.items())
    counts = {verdict: sum(one.verdict is verdict for one in rebuilt.files) for verdict in Verdict}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    lines = [f"rebuild  {_shown(rebuilt.verdict, style)} ({told}; {varied})"]
    for one in rebuilt.files:
        if one.verdict is not Verdict.EXACT:
            lines.append(f"  {visible(one.file)}: {_shown(one.verdict, style)}")
            lines += [f"    {visible(str(finding))}" for finding in one.findings[:_MOST_FINDINGS]]
            if (more := len(one.findings) - _MOST_FINDINGS) > 0:
                lines.append(f"    and {more} more; --format json has all")
    return lines


def as_json(found: Verification) -> str:
    """The same for machines, with the problems."""
    build, rebuilt = found.build, found.rebuilt
    value: dict[str, Any] = {
        "formatVersion": 1,
        "folder": str(found.folder),
        "name": build.name if build else None,
        "version": build.version if build else None,
        "verified": not found.problems,
        "files": found.files,
        "targets": [asdict(one) for one in found.targets],
        "notRun": found.unrun,
        "gates": [asdict(gate) for gate in found.gates],
        "environmentChanges": list(found.others),
        "rebuild": asdict(rebuilt) if rebuilt else None,
        "diagnostics": objects(found.problems),
    }
    return json.dumps(value, indent=2) + "\n"
