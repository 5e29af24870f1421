"""Data-centre GPUs, through TensorRT 11: an engine is built on a GPU like the one it is to run on, where tactics are timed."""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from modelspec import nvidia, toolchain
from modelspec.options import Options, ProjectPath, refuse, text
from modelspec.targets._engine import EngineTarget

_CAPABILITY = r"^[0-9]{1,2}\.[0-9]$"


def _capability(value: str) -> str:
    if not re.fullmatch(_CAPABILITY, value):
        raise refuse("MS206", f"{value!r} is not a compute capability", 'for example: "9.0"')
    return value


class Wanted(Options):
    """The GPU that an engine is for."""

    compute_capability: Annotated[str, AfterValidator(_capability), text(_CAPABILITY)] = Field(
        description="Its compute capability.", examples=["9.0"]
    )


class Tensorrt(EngineTarget):
    """A data-centre GPU."""

    device_name: ClassVar[str] = "tensorrt"
    module: ClassVar[Literal["tensorrt", "tensorrt_rtx"]] = "tensorrt"
    toolchain: ClassVar[tuple[str, ...]] = ("tensorrt",)
    hardware: ClassVar[tuple[str, ...]] = ("cuda", "driver", "gpu")
    paths: ClassVar[tuple[str, ...]] = ("timing_cache",)

    device: Literal["tensorrt"] = Field(description="A GPU, through TensorRT.", examples=["tensorrt"])
    gpu: Wanted | None = Field(
        None,
        description="The GPU it must be built on; without it, whichever is here.",
        examples=[{"compute_capability": "9.0"}],
    )
    level: int | None = Field(
        None, ge=0, le=5, description="Effort of the builder; its own default is 3.", examples=[5]
    )
    timing_cache: ProjectPath | None = Field(
        None,
        description="The timing.cache of an earlier build: the same tactics are taken, and another one is an error.",
        examples=["recorded/timing.cache"],
    )
    version_compatible: bool = Field(
        False, description="Whether later releases of the same major version must load it too.", examples=[True]
    )
    hardware_compatible: Literal["none", "ampere_plus", "same_compute_capability"] = Field(
        "none", description="On which other GPUs it must run too; slower.", examples=["ampere_plus"]
    )

    def _own(self) -> dict[str, Any]:
        return {
            "compute_capabilities": (self.gpu.compute_capability,) if self.gpu else (),
            "level": self.level,
            "version_compatible": self.version_compatible,
            "hardware_compatible": self.hardware_compatible,
        }

    def lacking(self) -> str:
        absent = [f"the package {name}" for name in toolchain.missing(self.toolchain)]
        gpu = nvidia.first()
        if gpu is None:
            absent.append("an NVIDIA GPU with its driver")
        elif self.gpu and gpu.compute_capability != self.gpu.compute_capability:
            absent.append(f"a GPU of compute capability {self.gpu.compute_capability} (here is {gpu})")
        return " and ".join(absent)
