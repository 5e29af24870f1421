"""Counts the nodes of a published graph by their operator."""

import json
from collections import Counter
from typing import Any, ClassVar

from modelspec.stage import Determinism, Job, Stage


class Graph(Stage):
    """published model -> how many nodes of each operator it has."""

    name: ClassVar[str] = "graph"
    summary: ClassVar[str] = "count the operators of a published graph"
    revision: ClassVar[int] = 1
    takes: ClassVar[tuple[str, ...]] = ("model",)
    gives: ClassVar[tuple[str, ...]] = ("report",)
    packages: ClassVar[tuple[str, ...]] = ("onnx",)
    imports: ClassVar[tuple[str, ...]] = ("onnx",)
    determinism: ClassVar[Determinism] = Determinism.EXACT
    block: ClassVar[Any] = False

    def run(self, job: Job) -> None:
        """Write report.json. Raises a ModelspecError where the file is no model."""
        from modelspec.formats import onnx_model

        nodes = onnx_model.read(job.input("model") / "model.onnx").graph.node
        counts = Counter(f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in nodes)
        (job.output("report") / "report.json").write_text(json.dumps(counts))
