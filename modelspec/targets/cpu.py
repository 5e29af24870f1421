"""The CPU, through ONNX Runtime: an optimized ONNX file that runs on any machine of the architecture.

The graph is optimized at build time up to the level "extended". The next level bakes the build host's memory layout
(NCHWc) into the file, so it is left to the load, where it costs little. The .ort format is not used: its bytes differ
from run to run.

runtime.json says `cpu: {needs: [...]}` where answers are right only on CPUs with one of these features, or without AVX2.
"""

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from modelspec import toolchain
from modelspec.quantization import AnyMethod
from modelspec.target import Session, Target

FILE = "model.onnx"


class Cpu(Target):
    """The CPU of the machine that serves."""

    device_name: ClassVar[str] = "cpu"
    revision: ClassVar[int] = 2
    packages: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxruntime")
    imports: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxruntime")
    facts: ClassVar[tuple[str, ...]] = ("arch", "isa")
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "int8", "int4", "int8w")

    device: Literal["cpu"] = Field(description="The CPU, through ONNX Runtime.", examples=["cpu"])
    precision: Literal["fp32", "int8", "int4", "int8w"] = Field(
        "fp32", description="Precision of the model.", examples=["int8"]
    )
    quantize: AnyMethod | None = Field(
        None, description="Replaces quantize.<precision> for this target.", examples=[{"method": "dynamic"}]
    )

    @property
    def chosen_precision(self) -> str:
        return self.precision

    def compile(self, model: Path, artifact: Path) -> dict[str, Any]:
        from modelspec.formats import onnx_model
        from modelspec.formats.onnx_integers import may_saturate
        from modelspec.formats.onnx_session import open_session

        optimized = artifact / FILE
        open_session(model, optimize="extended", save_to=optimized)
        made = onnx_model.read(optimized)
        onnx_model.write(made, optimized)
        runtime = {
            "formatVersion": 1,
            "device": self.device_name,
            "precision": self.precision,
            "runtime": "onnxruntime",
            "file": FILE,
            "providers": ["CPUExecutionProvider"],
            "session": {"graph_optimization_level": "all", "intra_op_num_threads": 1, "inter_op_num_threads": 1},
        }
        saturates = toolchain.fact("arch") == "x86_64" and may_saturate(made)
        return {**runtime, "cpu": {"needs": list(toolchain.VNNI)}} if saturates else runtime

    def open_session(self, artifact: Path, threads: int = 1) -> Session:
        from modelspec.formats.onnx_session import open_session

        return open_session(artifact / FILE, optimize="all", threads=threads)
