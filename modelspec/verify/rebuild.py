"""Builds again from the project in a varied environment, and compares every published file."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelspec.errors import Diagnostic, ModelspecError
from modelspec.execute.alone import Workers
from modelspec.execute.job_file import read_result
from modelspec.meaning.verdict import FileVerdict, Verdict, worst
from modelspec.publication import BUILD
from modelspec.publish import folder_of
from modelspec.spec.load import Loaded
from modelspec.store.stat_cache import StatCache
from modelspec.verify.compare import compare
from modelspec.verify.project import copy_project
from modelspec.verify.published import Published
from modelspec.verify.record import AGAIN, BuildSaid, read_build
from modelspec.verify.variation import Variation, vary

_MOST_FINDINGS = 5
"""Findings of one file that its message names; the report has all."""


@dataclass(frozen=True)
class Rebuilt:
    """The published folder against the rebuilt one."""

    verdict: Verdict
    files: tuple[FileVerdict, ...]
    varied: Mapping[str, str]


def rebuild(loaded: Loaded, published: Published, workers: Workers, place: Path) -> tuple[Rebuilt, list[Diagnostic]]:
    """Rebuild below the folder `place`. Problems: MS607 for each file that is different."""
    variation, build = vary(place), published.build
    # Another name and another depth than any checkout has.
    copied = place / "re build" / "of" / "a" / f"{loaded.root.name or 'root'}-copy"
    spec = copy_project(loaded, copied, StatCache(place / "stat.json"))
    made = folder_of(loaded.spec, _build(spec, place, variation, build, workers.timeout_s))
    found, again = compare(published, made, workers), read_build(made)
    why = _why(build, again, published.others)
    problems = [_problem(one, why) for one in found if one.verdict is Verdict.DIFFERENT]
    if _limits(build) != _limits(again):
        problems.append(Diagnostic("MS604", f"the gates of {BUILD} are not those of the spec", help=AGAIN))
    return Rebuilt(worst(one.verdict for one in found), tuple(found), variation.shown()), problems


def _build(spec: Path, place: Path, variation: Variation, build: BuildSaid, timeout_s: float) -> Path:
    """Run the building process; returns its output folder. Raises what it could not do."""
    output = place / "dist"
    order = {
        "parent": os.getpid(), "file": str(spec), "output": str(output), "cache": str(place / "cache"), "result": str(place),
        "targets": list(build.metrics), "umask": variation.umask, "cores": variation.cores, "timeout": timeout_s,
        "deferred": list(build.deferred),
    }  # fmt: skip
    command = [sys.executable, "-P", "-m", "modelspec.verify.child"]
    try:
        done = subprocess.run(  # noqa: S603 - our own module; the order goes through a pipe
            command, input=json.dumps(order), env=dict(variation.env), cwd=place, capture_output=True, text=True,
            timeout=timeout_s * (len(build.actions) + 1), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        problem = Diagnostic("MS520", f"the rebuild ran for more than {error.timeout:g} s", help="raise --timeout")
        raise ModelspecError((problem,)) from error
    if not done.returncode:
        return output
    if (said := read_result(place)) is not None:
        raise ModelspecError(tuple(d.at(message=f"the rebuild failed: {d.message}", file="") for d in said.diagnostics))
    dead = Diagnostic("MS405", "the process of the rebuild died before it could say why", help="see its last lines")
    raise ModelspecError((dead,), tuple(done.stderr.splitlines()[-20:]))


def _why(build: BuildSaid, again: BuildSaid, others: tuple[str, ...]) -> str:
    """Where a difference comes from: from tools and machine, else from the files of the project, else from neither."""
    if others:
        return f"other than at the build: {', '.join(others)}"
    recorded = {action.label: action for action in build.actions if action.determinism != "measured"}
    for action in (action for action in again.actions if action.label in recorded):
        # Those it needs come before it: the first that is other has nothing but its own files to blame, or itself.
        was = recorded[action.label]
        if action.key != was.key:
            return f"the files of the project are not those of the build: {action.label} has other inputs"
        if set(action.outputs) != set(was.outputs):
            return f"the record says that {action.label} made other bytes of the same inputs: it was changed, or {action.label} is not reproducible"
    return "the record says that the same inputs gave what the rebuild gives: the file was changed"


def _problem(one: FileVerdict, why: str) -> Diagnostic:
    named = [str(finding) for finding in one.findings[:_MOST_FINDINGS]]
    if (more := len(one.findings) - len(named)) > 0:
        named.append(f"and {more} more")
    return Diagnostic(
        "MS607", f"{one.file} is different: {'; '.join(named)}", why=why, help="build again: it is written anew"
    )


def _limits(build: BuildSaid) -> list[tuple[str, str, str, str]]:
    return sorted((gate.target, gate.metric, gate.kind, repr(gate.written)) for gate in build.gates)
