"""Removes what counts least: whole channels and neurons, or single weights.

The slot `changes` holds what becomes of the source. Of a module: `weights.safetensors`, and `changes.json` with the sizes
of layers that differ from what the user's code builds ("attributes"), the tensors whose zeros stay ("masked"), and the
outputs that were removed ("removed"); of an ONNX file: `model.onnx`. `Framework.revive` reads it.
"""

import json
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from modelspec.errors import ModelspecError, fail
from modelspec.framework import Framework
from modelspec.signature import Signature
from modelspec.stage import Determinism, Job, Request, Stage
from modelspec.stages._prune_options import Pruning, Structured

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Prune(Stage):
    """source -> changes."""

    name: ClassVar[str] = "prune"
    summary: ClassVar[str] = "remove the channels, neurons or weights that count least"
    revision: ClassVar[int] = 1
    gives: ClassVar[tuple[str, ...]] = ("changes", "metrics")
    parts: ClassVar[tuple[str, ...]] = ("framework", "signature")
    packages: ClassVar[tuple[str, ...]] = ("numpy",)
    optional: ClassVar[tuple[str, ...]] = ("torch-pruning",)
    imports: ClassVar[tuple[str, ...]] = ("numpy",)
    facts: ClassVar[tuple[str, ...]] = ("arch", "isa")
    determinism: ClassVar[Determinism] = Determinism.NUMERIC
    block: ClassVar[Any] = Pruning

    method: Pruning = Field(description="How to prune.", examples=[{"method": "structured", "sparsity": 0.5}])

    @classmethod
    def configure(cls, request: Request) -> Self | None:
        method = request.blocks.get(cls.name)
        return None if method is None else cls(method=method)

    def keyed(self) -> dict[str, Any]:
        return self.method.model_dump(mode="json")

    def distributions(self) -> tuple[str, ...]:
        """Structured pruning takes a library of its own."""
        return (*self.packages, *self.optional) if isinstance(self.method, Structured) else self.packages

    def run(self, job: Job) -> None:
        """Write the changes, and what each layer lost. Raises MS530 when none lost anything."""
        from modelspec.stages import _prune_graph, _prune_module

        framework = job.framework
        assert framework is not None
        model = framework.load(job.files)
        signature = framework.signature(model, job.signature)
        folder = job.output("changes")
        if framework.model_kind == "module":
            import torch

            made = _example(framework, model, signature)
            tensors = {name: torch.from_numpy(array.copy()) for name, array in made.items()}
            report = _prune_module.prune(
                model,
                lambda module: framework.forward(module, signature, tensors),
                max(1, min((len(array) for array in made.values() if array.ndim), default=1)),
                self.method,
                folder,
            )
        else:
            assert not isinstance(self.method, Structured), "the rules of the spec refuse it"
            report = _prune_graph.prune(model, self.method, folder)
        if not any(layer.is_pruned for layer in report.layers):
            reasons = sorted({layer.kept for layer in report.layers if layer.kept})
            raise fail(
                "MS530",
                f"no layer was pruned: {'; '.join(reasons) or 'none has weights that can be'}",
                help="raise the sparsity, exclude less, or remove the block prune",
            )
        value = {"metrics": {}, "method": self.method.method, **report.as_json()}
        (job.output("metrics") / "prune.json").write_text(json.dumps(value, indent=2) + "\n")


def _example(framework: Framework, model: Any, signature: Signature) -> "dict[str, NDArray[Any]]":
    """Inputs that the module takes. Raises what it says to the first ones when it takes none."""
    from modelspec.generate import candidates

    first: ModelspecError | None = None
    for made in candidates(signature):
        try:
            framework.run(model, signature, made)
        except ModelspecError as error:
            first = first or error
        else:
            return made
    assert first is not None, "there is always something to try"
    raise first
