"""The contract of a framework: how a float model is loaded, run as the reference, and exported to ONNX.

One file in `frameworks/` holds one subclass, whose fields are the `source:` block of model.yaml. All methods but
`entrypoints` and `keyed` run in a worker, whose working folder holds nothing but the declared inputs.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from modelspec.options import Options, Pattern
from modelspec.signature import Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, "NDArray[Any]"]


@dataclass(frozen=True)
class Files:
    """Where a worker finds the source: one folder per path field of the framework, and the user's code."""

    root: Path

    def path(self, field: str) -> Path:
        """The file or folder that the field `field` names."""
        return next(iter(sorted((self.root / field).iterdir())))

    @property
    def code(self) -> Path:
        """The folder with the user's code; already on `sys.path`."""
        return self.root / "code"


@dataclass(frozen=True)
class ExportOptions:
    """What `convert` asks of an exporter. `None` leaves the choice to the framework."""

    opset: int | None
    exporter: str | None


class Framework(Options):
    """The `source:` block of one framework."""

    name: ClassVar[str]
    revision: ClassVar[int]
    """Raise it when the same options and inputs would give other bytes."""
    packages: ClassVar[tuple[str, ...]]
    """Distributions whose versions can change the result; the extra of the same name installs them."""
    imports: ClassVar[tuple[str, ...]]
    """Modules that the worker server loads once, before it forks."""
    exporters: ClassVar[tuple[str, ...]] = ()
    """The values of `convert.exporter`, the default first; empty when there is no choice."""
    infers_signature: ClassVar[bool]
    """Whether the inputs can be read off the loaded model, so that `signature` may be left out."""

    model_kind: ClassVar[Literal["module", "graph", "other"]] = "other"
    """What `load` gives: a torch.nn.Module, the path of an ONNX file, or anything else."""
    optional: ClassVar[tuple[str, ...]] = ()
    """Distributions of the extra that only some stages take, which declare them themselves."""

    code: tuple[Pattern, ...] = Field(
        ("*.py",), description="The user's code: patterns relative to the spec's folder.", examples=[["*.py"]]
    )
    requires: tuple[str, ...] = Field(
        (),
        description="Distributions that the code imports beyond the framework's own.",
        examples=[["transformers"]],
    )

    def keyed(self) -> dict[str, Any]:
        """Without `code` and `requires`: what they name enters a key as digests and versions."""
        return {name: value for name, value in super().keyed().items() if name not in {"code", "requires"}}

    @abstractmethod
    def load(self, files: Files) -> Any:
        """The model, ready to run. Raises MS504 when it cannot be loaded, MS612 for a format that could run code."""

    @abstractmethod
    def signature(self, model: Any, declared: Signature) -> Signature:
        """The declared signature completed from the model; raises MS507 where they disagree."""

    @abstractmethod
    def run(self, model: Any, signature: Signature, inputs: "Arrays") -> "dict[str, NDArray[Any]]":
        """The outputs of the source model itself: the reference for parity and accuracy."""

    @abstractmethod
    def export(self, model: Any, signature: Signature, options: ExportOptions, target: Path) -> None:
        """Write an ONNX file at `target` with the names of `signature`. Raises MS505 or MS506."""

    def forward(self, model: Any, signature: Signature, inputs: "Mapping[str, Any]") -> dict[str, Any]:
        """Of a module: the outputs by name as tensors, for inputs that are tensors; gradients flow where they may."""
        raise NotImplementedError

    def revive(self, model: Any, changes: Path) -> Any:
        """The loaded model as the stages before `convert` left it: `changes` is what they wrote (see `stages/prune.py`)."""
        raise NotImplementedError
