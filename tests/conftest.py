"""Fixtures that several test modules share."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from modelspec.stage import Job, Stage

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # So it is for what a shell starts in the background; the tests of interruption need it as it is in a terminal.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time, so that no change fails for what it did not touch; HYPOTHESIS_PROFILE=explore looks for more.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", max_examples=2000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

RunStage = Callable[..., Job]
Tell = Callable[[str], None]


@pytest.fixture
def run_stage(tmp_path: Path) -> RunStage:
    """Run a stage in a scratch folder as a worker would: `run_stage(stage, {"model": folder}, target=...)`."""
    count = 0

    def run(stage: Stage, inputs: dict[str, Path], **parts: Any) -> Job:
        nonlocal count
        count += 1
        root = tmp_path / f"job-{count}"
        for slot, folder in inputs.items():
            shutil.copytree(folder, root / "in" / slot)
        job = Job(root=root, **parts)
        stage.run(job)
        return job

    return run


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Have a line printed at the end of the run, if the test passes: what was counted."""
    return lambda line: record_property("told", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Here and not where the tests are: of a run on several processes, this one prints."""
    reports = terminalreporter.stats.get("passed", [])
    told = [value for report in reports for name, value in report.user_properties if name == "told"]
    if told:
        terminalreporter.section("counted")
        for line in told:
            terminalreporter.write_line(str(line))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the files that the specs of the tests name. What they hold is of no account: `validate` does not look."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("model.onnx", "model.skops", "weights.safetensors", "test.npz", "train.npz", "calibration.npz",
                 "test.csv", "test.jsonl", "model.py", "metrics.py", "data.py"):  # fmt: skip
        (folder / name).write_bytes(b"")
    (folder / "sub").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "model.onnx").write_bytes(b"")
    (folder / "outside").symlink_to(tmp_path / "outside")
    (folder / "outside.onnx").symlink_to(tmp_path / "outside" / "model.onnx")
    (folder / "dangling.onnx").symlink_to(folder / "nothing")
    os.mkfifo(folder / "pipe")
    return folder
