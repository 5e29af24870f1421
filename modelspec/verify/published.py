"""A published folder whose record could be read: what every further check looks at."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelspec.verify.files import Files
from modelspec.verify.record import BuildSaid, MetricsSaid, ParitySaid


@dataclass(frozen=True)
class Published:
    """The folder, its files, and what it says of itself."""

    folder: Path
    files: Files
    build: BuildSaid
    metrics: Mapping[str, MetricsSaid]
    """By target, where the file is sound and can be read."""

    def parity(self, label: str) -> ParitySaid:
        """The tolerance of a target; the usual one where its metrics.json cannot be read."""
        return self.metrics[label].stages.convert.parity if label in self.metrics else ParitySaid()

    @property
    def others(self) -> tuple[str, ...]:
        """Tools and facts of the machine that are others here than at the build: with them, numbers may differ a little."""
        return (*self.build.other_machine(), *self.build.other_tools())
