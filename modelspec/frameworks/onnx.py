"""ONNX files: the source is an ONNX model already."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from modelspec.errors import fail
from modelspec.framework import ExportOptions, Files, Framework
from modelspec.remote import ProjectFile
from modelspec.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


class Onnx(Framework):
    """A source that is an ONNX model."""

    name: ClassVar[str] = "onnx"
    revision: ClassVar[int] = 1
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "numpy")
    imports: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxruntime")
    infers_signature: ClassVar[bool] = True
    model_kind: ClassVar[Literal["module", "graph", "other"]] = "graph"
    paths: ClassVar[tuple[str, ...]] = ("artifact",)
    folders: ClassVar[tuple[str, ...]] = ("artifact",)

    framework: Literal["onnx"] = Field(description="The source is an ONNX model.", examples=["onnx"])
    artifact: ProjectFile = Field(
        description="The .onnx file; or the folder that holds one .onnx file and its external data.",
        examples=["model.onnx"],
    )

    def load(self, files: Files) -> Path:
        """The path of the model file, opened once to see that it is sound and that the runtime knows all of it."""
        from modelspec.formats import onnx_model
        from modelspec.formats.onnx_session import open_session

        path = files.path("artifact")
        if path.is_dir():
            found = sorted(path.glob("*.onnx"))
            if len(found) != 1:
                raise fail("MS504", f"{path.name} holds {len(found)} .onnx files, not one", help="keep one per folder")
            path = found[0]
        onnx_model.read(path)
        open_session(path)
        return path

    def signature(self, model: Path, declared: Signature) -> Signature:
        from modelspec.formats import onnx_model

        proto = onnx_model.read(model)
        onnx_model.fill_shapes(proto.graph.input, _shapes(declared.inputs))
        found = onnx_model.signature_of(proto)
        return Signature(
            inputs=_merged(declared.inputs, found.inputs, "input"),
            outputs=_merged(declared.outputs, found.outputs, "output"),
        )

    def run(self, model: Path, signature: Signature, inputs: "Arrays") -> "dict[str, NDArray[Any]]":
        """ONNX Runtime with every optimization off: what the file says, and nothing else."""
        from modelspec.formats.onnx_session import open_session

        return open_session(model).run(inputs)

    def revive(self, model: Path, changes: Path) -> Path:
        """The changed file, which holds all of the model."""
        return changes / "model.onnx"

    def export(
        self,
        model: Path,
        signature: Signature,
        options: ExportOptions,
        target: Path,
    ) -> None:
        """Keep the operator set unless another is asked for."""
        import onnx

        from modelspec.formats import onnx_model

        proto = onnx_model.read(model)
        onnx_model.fill_shapes(proto.graph.input, _shapes(signature.inputs))
        if options.opset is not None and options.opset != onnx_model.opset(proto):
            try:
                proto = onnx.version_converter.convert_version(proto, options.opset)
            except RuntimeError as error:
                reason = re.sub(r"^\S+:\d+: \w+: Assertion `.*?` failed: ", "", str(error).strip()).splitlines()[0]
                raise fail(
                    "MS506",
                    f"the model cannot be brought to opset {options.opset}: {reason}",
                    help="leave convert.opset out, to keep the model's own",
                    path=("opset",),
                ) from error
        onnx_model.write(proto, target)


def _shapes(tensors: Mapping[str, TensorSpec]) -> dict[str, tuple[int | str, ...]]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _merged(declared: dict[str, TensorSpec], found: dict[str, TensorSpec], side: str) -> dict[str, TensorSpec]:
    """What the file says, with ranges and names of axes as declared. Raises MS507 where the two disagree."""
    if unknown := [name for name in declared if name not in found]:
        raise fail(
            "MS507",
            f"the model has no {side} {unknown[0]!r}; it has {', '.join(found)}",
            help="correct the signature",
            path=(f"{side}s", unknown[0]),
        )
    merged: dict[str, TensorSpec] = {}
    for name, tensor in found.items():
        said = declared.get(name, tensor)
        same = len(said.shape) == len(tensor.shape) and all(
            isinstance(ours, str) or isinstance(theirs, str) or ours == theirs
            for ours, theirs in zip(said.shape, tensor.shape, strict=True)
        )
        if said.dtype != tensor.dtype or not same:
            raise fail(
                "MS507",
                f"the {side} {name!r} is {tensor.dtype} {list(tensor.shape)} in the model and "
                f"{said.dtype} {list(said.shape)} in the signature",
                help="correct the signature",
                path=(f"{side}s", name),
            )
        merged[name] = said
    return merged
