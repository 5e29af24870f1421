"""RTX GPUs, through TensorRT for RTX: engines are built ahead of time, on any CPU, for several GPUs at once."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from modelspec import toolchain
from modelspec.options import Options
from modelspec.targets._engine import EngineTarget


class Gpus(Options):
    """The GPUs that an engine is for."""

    compute_capabilities: tuple[Literal["7.5", "8.0", "8.6", "8.9", "12.0", "12.1"], ...] = Field(
        min_length=1, description="Their compute capabilities.", examples=[["8.9", "12.0"]]
    )


class TensorrtRtx(EngineTarget):
    """An RTX GPU."""

    device_name: ClassVar[str] = "tensorrt-rtx"
    module: ClassVar[Literal["tensorrt", "tensorrt_rtx"]] = "tensorrt_rtx"
    toolchain: ClassVar[tuple[str, ...]] = ("tensorrt-rtx",)

    device: Literal["tensorrt-rtx"] = Field(
        description="An RTX GPU, through TensorRT for RTX.", examples=["tensorrt-rtx"]
    )
    gpu: Gpus | None = Field(
        None,
        description="The GPUs it is for; without it, those that the builder supports by default.",
        examples=[{"compute_capabilities": ["8.9", "12.0"]}],
    )

    def _own(self) -> dict[str, Any]:
        return {"compute_capabilities": self.gpu.compute_capabilities if self.gpu else ()}

    def lacking(self) -> str:
        missing = toolchain.missing(self.toolchain)
        return f"the package {missing[0]}" if missing else ""
