"""What is known of an engine: the recipe by which it is made, and where and by what it was; the file is engine.json."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from modelspec.errors import fail

FILE = "engine.json"
PLAN = "model.plan"
MODEL = "model.onnx"
DISTRIBUTIONS = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}
"""The distribution that brings each module."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(_Value):
    """The shapes of one input."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


class Recipe(_Value):
    """Everything that is asked of the builder."""

    module: Literal["tensorrt", "tensorrt_rtx"]
    precision: str
    model: dict[str, str]
    """SHA-256 of each file of the prepared ONNX model."""
    profile: dict[str, Range]
    compute_capabilities: tuple[str, ...] = ()
    """Where the engine is to run; the builder's own choice when empty."""
    workspace: int | None = None
    level: int | None = None
    version_compatible: bool = False
    hardware_compatible: Literal["none", "ampere_plus", "same_compute_capability"] = "none"
    replay: str = ""
    """SHA-256 of the timing cache whose tactics are to be taken."""


class Device(_Value):
    """The GPU on which tactics were timed."""

    name: str
    compute_capability: str
    driver: str
    cuda: str

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.compute_capability})"


class Record(_Value):
    """engine.json. Without a device the engine was built ahead of time, and nothing was timed."""

    formatVersion: Literal[1] = 1  # noqa: N815 - the spelling of the file
    state: Literal["built", "deferred"]
    recipe: Recipe
    version: str = ""
    """Of the builder."""
    device: Device | None = None
    inspected: bool = False
    """Whether the types of the finished engine's layers were looked at, which takes a driver."""
    content: str = ""
    """SHA-256 of the engine without the names that the compiler makes up (see `masked`)."""
    tactics: dict[str, str] | None = None
    """What was chosen for each key of the timing cache, where the builder tells."""


def write(record: Record, folder: Path) -> None:
    """Write engine.json."""
    (folder / FILE).write_text(record.model_dump_json(indent=2) + "\n")


def read(folder: Path) -> Record:
    """What engine.json says. Raises MS582 for what is no such record."""
    try:
        return Record.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise fail(
            "MS582", f"{FILE} is no record of an engine: {str(error).splitlines()[0]}", help="build again"
        ) from error
