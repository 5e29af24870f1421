"""Diagnostics as one line each, as JSON, and as workflow commands of GitHub Actions."""

import json
from typing import Any

from modelspec.errors import Diagnostic, Span, badness
from modelspec.report.human import visible

ANNOTATIONS = 10
"""Errors, and as many warnings, that GitHub shows of one step."""


def concise(diagnostics: list[Diagnostic]) -> str:
    """`file:line:column: CODE message (help)`: what editors and grep read."""
    return "\n".join(_line(problem) for problem in diagnostics)


def _line(problem: Diagnostic) -> str:
    warning = "warning: " if problem.severity == "warning" else ""
    place = ""
    if problem.file:
        place = f"{problem.file}:{problem.span.line}:{problem.span.column}: " if problem.span else f"{problem.file}: "
    fix = f" ({problem.help})" if problem.help else ""
    return one_line(f"{place}{warning}{problem.code} {problem.message}{fix}")


def one_line(text: str) -> str:
    """Without line breaks, and without what would change more than a line of a terminal."""
    return visible(" ".join(text.splitlines()))


def json_list(diagnostics: list[Diagnostic]) -> str:
    """A JSON object with every field of every diagnostic."""
    return json.dumps({"formatVersion": 1, "diagnostics": objects(diagnostics)}, indent=2, ensure_ascii=False)


def objects(diagnostics: list[Diagnostic]) -> list[dict[str, Any]]:
    """Every field of every diagnostic, as JSON values."""
    return [_object(problem) for problem in diagnostics]


def _object(problem: Diagnostic) -> dict[str, Any]:
    return {
        "code": problem.code,
        "severity": problem.severity,
        "message": problem.message,
        "file": problem.file or None,
        "span": _span(problem.span) if problem.span else None,
        "path": list(problem.path),
        "label": problem.label or None,
        "why": problem.why or None,
        "help": problem.help or None,
        "related": [{"span": _span(span), "message": text} for span, text in problem.also],
        "docs": f"modelspec explain {problem.code}",
    }


def _span(span: Span) -> dict[str, int]:
    return {
        "line": span.line,
        "column": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    }


def github(diagnostics: list[Diagnostic]) -> str:
    """Annotations on the lines of a pull request, the worst first; GitHub shows ten of a kind, and the log has the rest."""
    order = sorted(diagnostics, key=lambda problem: -badness(problem.exit))
    shown = [p for kind in ("error", "warning") for p in [q for q in order if q.severity == kind][:ANNOTATIONS]]
    rest = [harmless(_line(problem)) for problem in order if problem not in shown]
    return "\n".join([*(_command(problem) for problem in shown), *rest])


def harmless(text: str) -> str:
    """A line that the runner does not take for a command."""
    text = text.replace("##[", "# #[")
    return f"| {text}" if text.lstrip().startswith("::") else text


def _command(problem: Diagnostic) -> str:
    properties: dict[str, str] = {}
    if problem.file:
        properties["file"] = problem.file
    if problem.span:
        properties |= {"line": str(problem.span.line), "col": str(problem.span.column)}
        if problem.span.end_line == problem.span.line:
            # GitHub counts the last column as marked.
            properties["endColumn"] = str(max(problem.span.end_column - 1, problem.span.column))
    properties["title"] = f"modelspec {problem.code}"
    written = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    text = f"{problem.message}; {problem.help}" if problem.help else problem.message
    return f"::{problem.severity} {written}::{_escaped(text)}"


def _escaped(text: str) -> str:
    return visible(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
