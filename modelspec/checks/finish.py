"""Compiles what another machine left: the prepared graph and the recipe beside it become the artifact."""

import json
from typing import Any, ClassVar

from modelspec.stage import Determinism, Job, Stage


class Finish(Stage):
    """deferred artifact -> artifact."""

    name: ClassVar[str] = "finish"
    summary: ClassVar[str] = "compile a deferred target"
    revision: ClassVar[int] = 1
    takes: ClassVar[tuple[str, ...]] = ("artifact",)
    gives: ClassVar[tuple[str, ...]] = ("report", "artifact")
    parts: ClassVar[tuple[str, ...]] = ("target",)
    determinism: ClassVar[Determinism] = Determinism.RECORDED
    block: ClassVar[Any] = False

    def run(self, job: Job) -> None:
        """Write the artifact and its runtime.json. Raises MS421, MS581 or MS582."""
        assert job.target is not None
        runtime = job.target.finish(job.input("artifact"), job.output("artifact"))
        text = json.dumps(runtime, indent=2, sort_keys=True) + "\n"
        (job.output("report") / "report.json").write_text(text)
