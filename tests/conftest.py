"""Fixtures that several test modules share."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelspec.stage import Job, Stage

RunStage = Callable[..., Job]


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
