"""PyTorch modules: built by the user's code, filled with weights, exported by one of torch's two exporters."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from modelspec.errors import fail
from modelspec.framework import ExportOptions, Files, Framework
from modelspec.frameworks import _pytorch_export as exporters
from modelspec.options import Entrypoint, Params
from modelspec.remote import ProjectFile
from modelspec.signature import Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


class Pytorch(Framework):
    """A source that is a PyTorch module."""

    name: ClassVar[str] = "pytorch"
    revision: ClassVar[int] = 1
    packages: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxscript", "numpy", "safetensors")
    imports: ClassVar[tuple[str, ...]] = ("numpy", "torch", "onnx", "onnxruntime")
    exporters: ClassVar[tuple[str, ...]] = ("dynamo", "torchscript")
    infers_signature: ClassVar[bool] = False
    paths: ClassVar[tuple[str, ...]] = ("weights",)

    framework: Literal["pytorch"] = Field(description="The source is a PyTorch module.", examples=["pytorch"])
    entrypoint: Entrypoint = Field(description="file.py:callable that returns the module.", examples=["model.py:build"])
    weights: ProjectFile | None = Field(
        None, description="State dict: .safetensors, or .pt with tensors only.", examples=["weights.safetensors"]
    )
    params: Params = Field(
        default_factory=dict, description="Keyword arguments of the entrypoint.", examples=[{"width": 32}]
    )

    def entrypoints(self) -> tuple[str, ...]:
        return (self.entrypoint,)

    def load(self, files: Files) -> Any:
        """The module in evaluation mode, its weights loaded strictly."""
        import torch

        from modelspec.formats import torch_weights
        from modelspec.user_code import explained, resolve

        torch.manual_seed(0)
        torch.set_num_threads(1)
        build = resolve(self.entrypoint, files.code)
        with explained(files.code):
            module = _called(build, self.params, self.entrypoint)
        if not isinstance(module, torch.nn.Module):
            raise fail(
                "MS504",
                f"{self.entrypoint} returned {type(module).__name__}, not a torch.nn.Module",
                help="return the module",
                path=("entrypoint",),
            )
        if self.weights is not None:
            _fill(module, torch_weights.read(files.path("weights")))
        return module.eval()

    def signature(self, model: Any, declared: Signature) -> Signature:
        """As declared: a module says nothing of its tensors. Outputs are completed by the export."""
        return declared

    def run(self, model: Any, signature: Signature, inputs: "Arrays") -> "dict[str, NDArray[Any]]":
        import torch

        arguments = [torch.from_numpy(inputs[name].copy()) for name in signature.inputs]
        with torch.no_grad():
            tensors = exporters.flatten(_forward(model, arguments))
        names = exporters.output_names(signature, len(tensors))
        return {name: tensor.detach().cpu().numpy() for name, tensor in zip(names, tensors, strict=True)}

    def export(
        self,
        model: Any,
        signature: Signature,
        options: ExportOptions,
        target: Path,
    ) -> None:
        from modelspec.formats import onnx_model

        proto = exporters.export(model, signature, options.exporter or self.exporters[0], options.opset)
        found = onnx_model.opset(proto)
        if options.opset is not None and found != options.opset:
            raise fail(
                "MS506",
                f"the exporter reached opset {found}, not {options.opset}",
                help=f"use convert: {{opset: {found}}}, or the other exporter",
                path=("opset",),
            )
        onnx_model.write(proto, target)


def _called(build: Any, params: Mapping[str, Any], entrypoint: str) -> Any:
    import inspect

    try:
        inspect.signature(build).bind(**params)
    except TypeError as error:
        raise fail(
            "MS504", f"{entrypoint} does not take these params: {error}", help="correct source.params", path=("params",)
        ) from error
    return build(**params)


def _forward(module: Any, arguments: list[Any]) -> Any:
    """Run the module; an input it cannot take is told as such."""
    try:
        return module(*arguments)
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        shapes = ", ".join(f"{str(a.dtype).removeprefix('torch.')} {list(a.shape)}" for a in arguments)
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise fail(
            "MS507", f"the module refuses inputs of {shapes}: {first}", help="correct the signature", path=("inputs",)
        ) from error


def _fill(module: Any, weights: Mapping[str, Any]) -> None:
    own = module.state_dict()
    for problem, names in (
        ("lack", [name for name in own if name not in weights]),
        ("have, and the module has not,", [name for name in weights if name not in own]),
    ):
        if names:
            shown = ", ".join(repr(name) for name in names[:3]) + (
                f" and {len(names) - 3} more" if len(names) > 3 else ""
            )
            raise fail(
                "MS504",
                f"the weights {problem} {shown}",
                help="check source.params: the weights may be of another size",
                path=("weights",),
            )
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            raise fail(
                "MS504",
                f"{name!r} is {list(tensor.shape)} in the weights and {list(own[name].shape)} in the module",
                help="check source.params: the weights may be of another size",
                path=("weights",),
            )
    module.load_state_dict(dict(weights))
