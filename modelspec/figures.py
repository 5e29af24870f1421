"""Figures of a target: the metrics files of its stages, put together; and metrics.json, which is what is reproducible of them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

FORMAT = 1


@dataclass(frozen=True)
class Figures:
    """What was measured of one target."""

    metrics: dict[str, float | None] = field(default_factory=dict)
    source: dict[str, float | None] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    """Reproducible: the file of each stage, by stage."""
    measured: dict[str, Any] = field(default_factory=dict)
    """True of this machine only, by stage."""

    def is_measured(self, name: str) -> bool:
        """Whether a metric is true of this machine only."""
        return any(name in value.get("metrics", {}) for value in self.measured.values())

    def reproducible(self) -> dict[str, Any]:
        """What metrics.json says."""
        values = {name: value for name, value in self.metrics.items() if not self.is_measured(name)}
        return {"formatVersion": FORMAT, "metrics": values, "source": self.source, "stages": self.details}


@dataclass(frozen=True)
class StageFigures:
    """What one stage measured."""

    stage: str
    value: dict[str, Any]
    measured: bool = False


def merged(files: Iterable[StageFigures]) -> Figures:
    """All of them, in the order of the stages: later ones replace the figures of earlier ones."""
    found = Figures()
    for file in files:
        found.metrics.update(file.value.get("metrics", {}))
        found.source.update(file.value.get("source", {}))
        (found.measured if file.measured else found.details)[file.stage] = file.value
    return found


def as_file(value: Any) -> bytes:
    """JSON as it is published: for people, and the same bytes for the same values."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
