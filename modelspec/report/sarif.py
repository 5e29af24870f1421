"""Diagnostics as SARIF 2.1.0, which code scanning and editors read."""

import json
import os
from typing import Any
from urllib.parse import quote

from modelspec import toolchain
from modelspec.errors import CODES, Diagnostic, Span

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(diagnostics: list[Diagnostic]) -> str:
    """One run with a rule for each code that occurs."""
    codes = sorted({problem.code for problem in diagnostics})
    driver = {
        "name": "modelspec",
        "version": toolchain.own_version(),
        "rules": [
            {"id": code, "shortDescription": {"text": CODES[code][1]}, "help": {"text": f"modelspec explain {code}"}}
            for code in codes
        ],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(problem, codes.index(problem.code)) for problem in diagnostics],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _result(problem: Diagnostic, rule: int) -> dict[str, Any]:
    text = f"{problem.message}\nhelp: {problem.help}" if problem.help else problem.message
    result: dict[str, Any] = {
        "ruleId": problem.code,
        "ruleIndex": rule,
        "level": problem.severity,
        "message": {"text": text},
    }
    if problem.file:
        result["locations"] = [{"physicalLocation": _location(problem.file, problem.span)}]
    if problem.also:
        result["relatedLocations"] = [
            {"id": number, "physicalLocation": _location(problem.file, span), "message": {"text": label}}
            for number, (span, label) in enumerate(problem.also)
        ]
    return result


def _location(file: str, span: Span | None) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": {"uri": quote(os.fsencode(file))}}
    if span:
        location["region"] = {
            "startLine": span.line,
            "startColumn": span.column,
            "endLine": span.end_line,
            "endColumn": span.end_column,
        }
    return location
