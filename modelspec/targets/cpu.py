"""The CPU, through ONNX Runtime."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from modelspec.target import Session, Target


class Cpu(Target):
    """The CPU."""

    device_name: ClassVar[str] = "cpu"
    revision: ClassVar[int] = 1
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")
    imports: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxruntime")
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "int8")

    device: Literal["cpu"] = Field(description="The CPU.", examples=["cpu"])
    precision: Literal["fp32", "int8"] = Field("fp32", description="Precision.", examples=["int8"])

    @property
    def chosen_precision(self) -> str:
        return self.precision

    def compile(self, model: Path, artifact: Path) -> dict[str, Any]:
        raise NotImplementedError

    def open_session(self, artifact: Path, threads: int = 1) -> Session:
        raise NotImplementedError
