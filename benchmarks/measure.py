"""Times commands one after the other in turns, so that what else the machine does falls on all of them alike."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODELSPEC = str(Path(sys.executable).with_name("modelspec"))


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, against what, and the bar of the design."""

    what: str
    against: str
    value: float
    other: float
    bar: float | None = None
    """The largest ratio allowed; None where nothing is promised."""
    unit: str = "s"

    @property
    def ratio(self) -> float:
        return self.value / self.other

    @property
    def verdict(self) -> str:
        if self.bar is None:
            return ""
        return f"bar {self.bar:.2f}  {'ok' if self.ratio <= self.bar else 'MISSED'}"

    def __str__(self) -> str:
        times = f"{self.value:9.3f} {self.unit} {self.other:9.3f} {self.unit}"
        return f"{self.what:<36} {self.against:<38} {times}  {self.ratio:6.2f}x  {self.verdict}".rstrip()


def run(command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> float:
    """Wall seconds of a command that must succeed; what it printed is shown when it does not."""
    start = time.perf_counter()
    done = subprocess.run(
        command, check=False, env={**os.environ, **(env or {})}, cwd=cwd, capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} exited {done.returncode}\n{done.stdout}{done.stderr}")
    return seconds


def medians(contenders: Mapping[str, Callable[[], float]], runs: int) -> dict[str, float]:
    """The median of each contender over `runs` rounds; each measures itself and returns seconds."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, contender in contenders.items():
            found[name].append(contender())
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def show(rows: Sequence[Row]) -> None:
    """Print the rows."""
    for row in rows:
        print(row, flush=True)
