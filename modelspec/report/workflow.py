"""A build as GitHub Actions wants it: step outputs, and a job summary with figures beside their gates and the base's."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelspec import digest, gates
from modelspec.build import Outcome
from modelspec.errors import Diagnostic, ModelspecError, fail
from modelspec.figures import Figures
from modelspec.gates import GateError, GateResult
from modelspec.publication import BUILD, CHECKSUMS
from modelspec.report.diagnostics import relative

SUMMARY_BYTES = 1_000_000
"""GitHub drops a summary of more than 1 MiB altogether."""


@dataclass(frozen=True)
class Base:
    """An earlier build to compare with."""

    metrics: Mapping[str, Mapping[str, float | None]]
    checksums: str


@dataclass(frozen=True)
class Summary:
    """What a job summary tells."""

    name: str
    version: str
    verdict: str
    figures: Mapping[str, Figures]
    gates: tuple[GateResult, ...]
    problems: tuple[Diagnostic, ...] = ()
    base: Base | None = None
    notes: tuple[str, ...] = ()

    def as_markdown(self) -> str:
        """The summary, cut where GitHub would lose it."""
        from modelspec.render import render

        text = render(
            "github/summary.md.j2",
            name=self.name,
            version=self.version,
            verdict=self.verdict,
            base=self.base is not None,
            targets=[{"label": label, "rows": self._rows(label)} for label in sorted(self.figures)],
            problems=[_problem(problem) for problem in self.problems],
            notes=self.notes,
        )
        return cut(text)

    def _rows(self, label: str) -> list[dict[str, Any]]:
        found, base = self.figures[label], self.base.metrics.get(label, {}) if self.base else {}
        judged = [gate for gate in self.gates if gate.target == label]
        names = dict.fromkeys([*(gate.metric for gate in judged), *sorted(found.metrics)])
        return [
            {
                "metric": name,
                "value": gates.quantity(found.metrics.get(name), name),
                "base": gates.quantity(base[name], name) if name in base else "",
                "source": gates.quantity(found.source[name], name) if name in found.source else "",
                "gates": [
                    {"limit": gates.shown(gate).limit, "passed": gate.passed} for gate in judged if gate.metric == name
                ],
            }
            for name in names
        ]


def _problem(problem: Diagnostic) -> dict[str, str]:
    place = relative(problem.file)
    where = f"{place}:{problem.span.line}" if problem.span else place
    return {"code": problem.code, "where": where, "message": problem.message, "help": problem.help}


def cut(text: str) -> str:
    """A summary that GitHub shows, with a word on what is missing."""
    if len(text.encode()) <= SUMMARY_BYTES:
        return text
    kept = text.encode()[:SUMMARY_BYTES].decode(errors="ignore").rpartition("\n")[0]
    return f"{kept}\n\nThe summary is too long for GitHub; the rest is in the log of the step.\n"


def built(outcome: Outcome, base: Base | None) -> Summary:
    """The summary of a build that succeeded."""
    spec = outcome.prepared.resolved.loaded.spec
    verdict = "nothing to do" if outcome.current else "built"
    counts = f"{outcome.ran} actions ran, {outcome.cached} were cached."
    return Summary(
        spec.name, spec.version, verdict, outcome.figures, outcome.gates, outcome.warnings, base, notes=(counts,)
    )


def failed(file: Path, error: ModelspecError, base: Base | None) -> Summary:
    """The summary of one that did not; with its figures, where it got so far."""
    if isinstance(error, GateError):
        return Summary(str(file), "", "a gate failed", error.figures, error.results, error.diagnostics, base)
    return Summary(str(file), "", "failed", {}, (), error.diagnostics)


def read_base(path: Path) -> Base:
    """An earlier build. Raises MS325 for what is none."""
    file = path / BUILD if path.is_dir() else path
    try:
        record = json.loads(file.read_bytes())
        base = Base({label: dict(figures) for label, figures in record["metrics"].items()}, record["checksums"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise fail("MS325", f"--base: {str(path)!r} is no build", help="name a build.json, or its folder") from error
    return base


def outputs(outcome: Outcome, base: Base | None) -> dict[str, str]:
    """The outputs of the step, by name; those of what was published are empty where nothing was.

    `changed` is whether the bytes are others than the base's; without a base, whether anything had to run.
    """
    counts = {"hits": str(outcome.cached), "misses": str(outcome.ran)}
    folder = outcome.folder
    if folder is None:
        return {
            "digest": "",
            "folder": "",
            "manifest": "",
            "checksums": "",
            "changed": _said(outcome.ran > 0),
            **counts,
        }
    sums = digest.of_file(folder / CHECKSUMS)
    changed = {"changed": _said(outcome.ran > 0 if base is None else base.checksums != sums)}
    return {
        "digest": f"sha256:{sums}",
        "folder": str(folder),
        "manifest": str(folder / BUILD),
        "checksums": str(folder / CHECKSUMS),
        **changed,
        **counts,
    }


def _said(value: bool) -> str:
    return "true" if value else "false"


def as_file(values: Mapping[str, str]) -> str:
    """Outputs in the form of $GITHUB_OUTPUT. The delimiter is random: no value can end where it likes."""
    return "".join(_output(name, value) for name, value in values.items())


def _output(name: str, value: str) -> str:
    end = f"end_{secrets.token_hex(16)}"
    return f"{name}<<{end}\n{value}\n{end}\n"
