"""How two files compare, and what was found between them."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """From the same bytes to another content, the best first."""

    EXACT = "exact"
    EQUIVALENT = "equivalent"
    WITHIN = "within tolerance"
    DIFFERENT = "different"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on several files; `exact` where there are none."""
    return max(verdicts, key=list(Verdict).index, default=Verdict.EXACT)


@dataclass(frozen=True)
class Tolerance:
    """How far numbers may lie apart, and whether they may at all: where the same bytes are promised, they may not."""

    rtol: float
    atol: float
    granted: bool


@dataclass(frozen=True)
class Finding:
    """One difference. `gap` is the largest distance of two numbers; None where there are none to subtract."""

    kind: str
    """initializer, graph, output, array, key, line or file."""
    name: str
    text: str
    gap: float | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.text}" if self.name else self.text


@dataclass(frozen=True)
class FileVerdict:
    """One published file against the rebuilt one."""

    file: str
    verdict: Verdict
    findings: tuple[Finding, ...] = ()


def judged(findings: Iterable[Finding], *, close: bool, tolerance: Tolerance) -> tuple[Verdict, tuple[Finding, ...]]:
    """The verdict on what was found; and the findings, in the order of their kinds, the largest gaps of a kind first."""
    found = list(findings)
    if not found:
        return Verdict.EQUIVALENT, ()
    kinds = list(dict.fromkeys(finding.kind for finding in found))
    found.sort(key=lambda f: (kinds.index(f.kind), f.gap is not None, -(f.gap or 0.0)))
    return (Verdict.WITHIN if close and tolerance.granted else Verdict.DIFFERENT), tuple(found)
