"""NVIDIA GPUs, through the CUDA provider of ONNX Runtime.

The file is the prepared graph as it is: what the runtime optimizes for a GPU is bound to that GPU, and done when it is
loaded. runtime.json keeps the runtime from the CPU: it would fall back to it without a word.
"""

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from modelspec import nvidia, toolchain
from modelspec.errors import fail
from modelspec.quantization import AnyMethod
from modelspec.target import Session, Target

FILE = "model.onnx"
RUNTIME = "onnxruntime-gpu"
PROVIDER = "CUDAExecutionProvider"


class Cuda(Target):
    """A GPU with CUDA."""

    device_name: ClassVar[str] = "cuda"
    revision: ClassVar[int] = 1
    packages: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxruntime")
    imports: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxruntime")
    facts: ClassVar[tuple[str, ...]] = ("arch", "isa", "gpu")
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16")

    device: Literal["cuda"] = Field(description="An NVIDIA GPU, through ONNX Runtime.", examples=["cuda"])
    precision: Literal["fp32", "fp16"] = Field("fp32", description="Precision of the model.", examples=["fp16"])
    quantize: AnyMethod | None = Field(
        None, description="Replaces quantize.<precision> for this target.", examples=[{"method": "mixed"}]
    )
    onnxruntime_gpu: str = Field(
        "1.31.1", pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$", description="The release that serves it.", examples=["1.31.1"]
    )
    cuda: Literal[12, 13] = Field(13, description="The major version of CUDA that this release needs.", examples=[13])
    cuda_graph: bool = Field(
        False,
        description="Record the calls to the GPU once and replay them; for shapes that are fixed.",
        examples=[True],
    )
    tf32: bool = Field(
        False, description="Multiply float32 with 10 bits of mantissa, which is faster and less exact.", examples=[True]
    )

    @property
    def chosen_precision(self) -> str:
        return self.precision

    def compile(self, model: Path, artifact: Path) -> dict[str, Any]:
        import shutil

        if self.cuda_graph:
            _require_fixed(model)
        shutil.copytree(model.parent, artifact, dirs_exist_ok=True)
        provider = {"device_id": "0", "use_tf32": str(int(self.tf32)), "enable_cuda_graph": str(int(self.cuda_graph))}
        return {
            "formatVersion": 1,
            "device": self.device_name,
            "precision": self.precision,
            "runtime": "onnxruntime",
            "requires": {RUNTIME: self.onnxruntime_gpu, "cuda": str(self.cuda)},
            "file": FILE,
            "providers": [[PROVIDER, provider]],
            "io_binding": True,
            "session": {
                "graph_optimization_level": "all", "intra_op_num_threads": 1, "inter_op_num_threads": 1,
                "disable_cpu_ep_fallback": not _places(model),
            },
        }  # fmt: skip

    def stands_in(self) -> str:
        if nvidia.first() is None:
            return "measured on the CPU: no NVIDIA GPU here"
        if toolchain.version(RUNTIME) != self.onnxruntime_gpu:
            return f"measured on the CPU: {RUNTIME} {self.onnxruntime_gpu} is not installed"
        return ""

    def open_session(self, artifact: Path, threads: int = 1) -> Session:
        """On the GPU where all of it is here, else on the CPU, which `stands_in` then tells."""
        from modelspec.formats.onnx_session import open_session

        if self.stands_in():
            return open_session(artifact / FILE, optimize="all", threads=threads)
        provider = {"device_id": "0", "use_tf32": str(int(self.tf32))}
        return open_session(artifact / FILE, optimize="all", threads=threads, provider=(PROVIDER, provider))


def _places(model: Path) -> bool:
    """Whether the graph computes shapes: the runtime does that on the CPU, on purpose."""
    from modelspec.formats import onnx_model

    return any(node.op_type == "Shape" for node in onnx_model.read(model).graph.node)


def _require_fixed(model: Path) -> None:
    from modelspec.formats import onnx_model

    for name, tensor in onnx_model.signature_of(onnx_model.read(model)).inputs.items():
        if any(isinstance(axis, str) for axis in tensor.shape):
            raise fail(
                "MS390",
                f"the input {name!r} has axes of any length, and a CUDA graph takes fixed ones alone",
                help="remove cuda_graph, or write a signature of fixed sizes",
                path=("cuda_graph",),
            )
