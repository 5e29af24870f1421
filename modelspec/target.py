"""The contract of a target: a device at a precision, how a model is compiled for it and how it is run there.

One file in `targets/` holds one subclass, whose fields are an entry of `targets:` in model.yaml.
"""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from pydantic import Field, StringConstraints

from modelspec.options import Options

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]


class Session(Protocol):
    """A loaded model that answers."""

    def run(self, inputs: "Mapping[str, NDArray[Any]]") -> "dict[str, NDArray[Any]]":
        """All outputs by name."""


class Target(Options):
    """One device at one precision."""

    device_name: ClassVar[str]
    revision: ClassVar[int]
    packages: ClassVar[tuple[str, ...]]
    imports: ClassVar[tuple[str, ...]]
    facts: ClassVar[tuple[str, ...]] = ()
    """Hardware facts (see `toolchain.facts`) that change what `compile` writes."""
    base_image: ClassVar[str] = "docker.io/library/python:{python}-slim"
    """What an image for this device is built on, where the spec names nothing else; `{python}` becomes the version."""
    sparse_2_4: ClassVar[bool] = False
    """Whether weights of which two of any four are zero run faster here."""
    symmetric: ClassVar[bool] = False
    """Whether integers are taken without zero points only."""
    toolchain: ClassVar[tuple[str, ...]] = ()
    """Distributions that only `compile` takes."""
    hardware: ClassVar[tuple[str, ...]] = ()
    """Hardware facts on which only `compile` depends."""
    is_engine: ClassVar[bool] = False
    """Whether `compile` gives something else each time, and can be put off to another machine."""
    measured: ClassVar[str] = "artifact"
    """The slot that is run to measure the target: what was compiled, or the `model` it is compiled from."""
    precisions: ClassVar[tuple[str, ...]]
    """What this device offers, the default first."""

    name: Name | None = Field(
        None, description="Name of the target; `<device>-<precision>` when left out.", examples=["edge"]
    )

    @property
    @abstractmethod
    def chosen_precision(self) -> str:
        """The precision asked for."""

    @property
    def label(self) -> str:
        """The name of the target's folder under dist/."""
        return self.name or f"{self.device_name}-{self.chosen_precision}"

    def keyed(self) -> dict[str, Any]:
        """Without the name, which is for people."""
        return {name: value for name, value in super().keyed().items() if name not in {"name", "quantize"}}

    @abstractmethod
    def compile(self, model: Path, artifact: Path) -> dict[str, Any]:
        """Write the artifact into the folder `artifact` from the ONNX file `model`; returns what runtime.json says."""

    def replay(self, model: Path, artifact: Path, recorded: Path) -> dict[str, Any]:
        """Compile as it was done before, by the file in which that is recorded."""
        raise NotImplementedError

    def defer(self, model: Path, artifact: Path) -> dict[str, Any]:
        """Write what another machine needs to compile, in place of the artifact."""
        raise NotImplementedError

    def finish(self, deferred: Path, artifact: Path) -> dict[str, Any]:
        """Compile what `defer` wrote; returns what runtime.json says."""
        raise NotImplementedError

    def lacking(self) -> str:
        """What this machine lacks to compile for the device; "" where it lacks nothing."""
        return ""

    def stands_in(self) -> str:
        """What was measured where it was not the artifact on the device; "" where it was."""
        return ""

    def cannot_run(self, artifact: Path) -> str:  # noqa: ARG002 - not every device needs to look
        """Why a published artifact is not run here; "" where it is."""
        return ""

    @abstractmethod
    def open_session(self, artifact: Path, threads: int = 1) -> Session:
        """Load what `compile` wrote. Raises MS513 when the runtime refuses it."""
