"""PyTorch modules: built by the user's code, filled with weights, exported by one of torch's two exporters."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from modelspec.errors import fail
from modelspec.formats.trust import Trust
from modelspec.framework import ExportOptions, Files, Framework
from modelspec.frameworks import _pytorch_export as exporters
from modelspec.options import Entrypoint, Params, refuse
from modelspec.remote import ProjectFile, file_name
from modelspec.signature import Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


class Pytorch(Framework):
    """A source that is a PyTorch module."""

    name: ClassVar[str] = "pytorch"
    revision: ClassVar[int] = 2
    packages: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxscript", "numpy", "safetensors")
    imports: ClassVar[tuple[str, ...]] = ("numpy", "torch", "onnx", "onnxruntime")
    exporters: ClassVar[tuple[str, ...]] = ("dynamo", "torchscript")
    infers_signature: ClassVar[bool] = False
    model_kind: ClassVar[Literal["module", "graph", "other"]] = "module"
    optional: ClassVar[tuple[str, ...]] = ("torch-pruning",)
    paths: ClassVar[tuple[str, ...]] = ("weights",)

    framework: Literal["pytorch"] = Field(description="The source is a PyTorch module.", examples=["pytorch"])
    entrypoint: Entrypoint = Field(description="file.py:callable that returns the module.", examples=["model.py:build"])
    weights: ProjectFile | None = Field(
        None, description="State dict: .safetensors, or .pt with tensors only.", examples=["weights.safetensors"]
    )
    trust: Trust | None = Field(
        None,
        description="Digest of the weights, where the file is a .pt with more than tensors and you trust whoever made it.",
        examples=["sha256:" + 64 * "0"],
    )
    params: Params = Field(
        default_factory=dict, description="Keyword arguments of the entrypoint.", examples=[{"width": 32}]
    )

    @field_validator("trust")
    @classmethod
    def _has_effect(cls, value: str | None, info: ValidationInfo) -> str | None:
        weights = info.data.get("weights")
        if value is not None and "weights" in info.data and (weights is None or _is_safetensors(file_name(weights))):
            what = "there are no weights" if weights is None else f"{file_name(weights)} holds tensors only"
            raise refuse("MS319", f"'trust' has no effect: {what}", "remove it")
        return value

    def entrypoints(self) -> tuple[str, ...]:
        return (self.entrypoint,)

    def load(self, files: Files) -> Any:
        """The module in evaluation mode, its weights loaded strictly."""
        import torch

        from modelspec.formats import torch_weights
        from modelspec.user_code import call

        torch.manual_seed(0)
        torch.set_num_threads(1)
        module = call(self.entrypoint, files.code, **self.params)
        if not isinstance(module, torch.nn.Module):
            raise fail(
                "MS504",
                f"{self.entrypoint} returned {type(module).__name__}, not a torch.nn.Module",
                help="return the module",
                path=("entrypoint",),
            )
        if self.weights is not None:
            _fill(module, torch_weights.read(files.path("weights"), self.trust))
        return module.eval()

    def signature(self, model: Any, declared: Signature) -> Signature:
        """As declared: a module says nothing of its tensors. Outputs are completed by the export."""
        return declared

    def run(self, model: Any, signature: Signature, inputs: "Arrays") -> "dict[str, NDArray[Any]]":
        import torch

        tensors = {name: torch.from_numpy(inputs[name].copy()) for name in signature.inputs}
        with torch.no_grad():
            found = self.forward(model, signature, tensors)
        return {name: tensor.detach().cpu().numpy() for name, tensor in found.items()}

    def forward(self, model: Any, signature: Signature, inputs: "Mapping[str, Any]") -> dict[str, Any]:
        found = exporters.flatten(exporters.forward(model, [inputs[name] for name in signature.inputs]))
        names = exporters.output_names(signature, found)
        return {name: tensor for name, (_, tensor) in zip(names, found, strict=True)}

    def revive(self, model: Any, changes: Path) -> Any:
        """The module with layers as large as the changed weights are, filled with them."""
        from modelspec.formats import torch_weights

        recipe = json.loads((changes / "changes.json").read_text())
        for name, attributes in recipe["attributes"].items():
            layer = model.get_submodule(name)
            for attribute, value in attributes.items():
                setattr(layer, attribute, tuple(value) if isinstance(value, list) else value)
        weights = torch_weights.read(changes / "weights.safetensors")
        _resize(model, weights)
        _fill(model, weights)
        return model.eval()

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


def _is_safetensors(name: str) -> bool:
    return name.lower().endswith(".safetensors")


def _resize(module: Any, weights: Mapping[str, Any]) -> None:
    """Give parameters and buffers the shape of the weights; what was shared stays so where its weights are still equal."""
    import torch

    resized: dict[int, list[tuple[Any, Any]]] = {}
    for prefix, layer in module.named_modules():
        for own in (layer._parameters, layer._buffers):
            for name, old in own.items():
                new = weights.get(f"{prefix}.{name}" if prefix else name)
                if old is None or new is None or old.shape == new.shape:
                    continue
                shared = resized.setdefault(id(old), [])
                if known := [other for weight, other in shared if torch.equal(weight, new)]:
                    own[name] = known[0]
                    continue
                empty = torch.empty(new.shape, dtype=old.dtype)
                if isinstance(old, torch.nn.Parameter):
                    empty = torch.nn.Parameter(empty, requires_grad=old.requires_grad)
                own[name] = empty
                shared.append((new, empty))


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
