"""A log that would stand still says what is running; one that does not says no more."""

import io
import time

from modelspec.report.heartbeat import Heartbeat
from modelspec.report.progress import PlainProgress
from modelspec.report.style import Style


def lines(progress: PlainProgress, seconds: float, every: float) -> list[str]:
    """What is written while the progress beats."""
    assert isinstance(progress.stream, io.StringIO)
    progress.heartbeat = Heartbeat(progress.beat, every)
    with progress.heartbeat.going():
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.02)
            if every > seconds:
                progress.line("something")
    return progress.stream.getvalue().splitlines()


def test_what_is_running_is_told_now_and_then() -> None:
    progress = PlainProgress(io.StringIO(), Style())
    progress.running = {"convert": (time.monotonic() - 61, ""), "golden": (time.monotonic() - 30, "")}
    told = lines(progress, 1.0, 0.1)
    assert 2 <= len(told) <= 10
    assert all(line.startswith("  still running: convert 6") and ", golden 3" in line for line in told)


def test_nothing_runs_and_nothing_is_told() -> None:
    assert lines(PlainProgress(io.StringIO(), Style()), 0.3, 0.05) == []


def test_whoever_speaks_is_not_interrupted() -> None:
    progress = PlainProgress(io.StringIO(), Style())
    progress.running = {"convert": (time.monotonic(), "")}
    assert set(lines(progress, 0.3, 30.0)) == {"something"}
