"""The two exporters of torch, brought to one behaviour: fixed names, dynamic axes from the signature, no noise."""

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelspec.errors import fail
from modelspec.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from onnx import ModelProto

EXAMPLE_SIZES = (3, 5, 6, 4, 8)
"""Sizes of dynamic axes for the trace. None is that of `generate.AXIS_SIZES` at its place: an axis that the exporter
took for a constant then fails the comparison with the source."""

DEFAULT_OPSET = {"dynamo": 20, "torchscript": 17}


def flatten(value: Any) -> list[Any]:
    """The tensors of a module's answer, in order: a tensor, or a tuple, list, mapping or dataclass of such."""
    import torch

    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    elif is_dataclass(value):
        value = [getattr(value, item.name) for item in fields(value)]
    if isinstance(value, tuple | list):
        return [tensor for item in value if item is not None for tensor in flatten(item)]
    raise fail("MS507", f"the module returned {type(value).__name__}, not tensors", help="return tensors from forward")


def output_names(signature: Signature, count: int) -> list[str]:
    """The names of the signature, or `output`, or `output_0` and so on. Raises MS507 when their number differs."""
    if signature.outputs and len(signature.outputs) != count:
        raise fail(
            "MS507",
            f"the module returns {count} tensors, and the signature names {len(signature.outputs)} outputs",
            help="correct signature.outputs",
            path=("outputs",),
        )
    if signature.outputs:
        return list(signature.outputs)
    return ["output"] if count == 1 else [f"output_{index}" for index in range(count)]


def export(module: Any, signature: Signature, exporter: str, opset: int | None) -> "ModelProto":
    """The ONNX model. Raises MS505 with the exporter's reason when it fails."""
    import torch

    arguments = tuple(_example(tensor, _axes(signature)) for tensor in signature.inputs.values())
    with torch.no_grad():
        outputs = output_names(signature, len(flatten(module(*arguments))))
    # Under names of our own: an exporter may use an output's name inside the graph too, which ONNX Runtime refuses.
    placeholders = [f"modelspec_output_{index}" for index in range(len(outputs))]
    version = opset or DEFAULT_OPSET[exporter]
    with _quiet(), _refusals(exporter):
        if exporter == "dynamo":
            model = _dynamo(module, arguments, signature, placeholders, version)
        else:
            model = _torchscript(module, arguments, signature, placeholders, version)
    _rename(model, dict(zip(placeholders, outputs, strict=True)))
    return model


def _axes(signature: Signature) -> dict[str, int]:
    """A size for each dynamic axis."""
    names = dict.fromkeys(axis for t in signature.inputs.values() for axis in t.shape if isinstance(axis, str))
    return {name: EXAMPLE_SIZES[index % len(EXAMPLE_SIZES)] for index, name in enumerate(names)}


def _example(tensor: TensorSpec, axes: Mapping[str, int]) -> Any:
    import torch

    shape = [axes[axis] if isinstance(axis, str) else axis for axis in tensor.shape]
    dtype = getattr(torch, tensor.dtype, None)
    if dtype is None:
        raise fail("MS507", f"PyTorch has no tensors of {tensor.dtype}", help="correct the signature", path=("inputs",))
    if not dtype.is_floating_point:
        return torch.ones(shape, dtype=dtype)
    low, high = tensor.range or (0.0, 1.0)
    return torch.linspace(low, high, max(1, torch.Size(shape).numel())).reshape(shape).to(dtype)


def _dynamo(
    module: Any, arguments: tuple[Any, ...], signature: Signature, outputs: list[str], opset: int
) -> "ModelProto":
    import torch

    dimensions = dict.fromkeys(_axes(signature), torch.export.Dim.DYNAMIC)
    shapes = tuple(
        {index: dimensions[axis] for index, axis in enumerate(tensor.shape) if isinstance(axis, str)}
        for tensor in signature.inputs.values()
    )
    program = torch.onnx.export(
        module, arguments, None, dynamo=True, input_names=list(signature.inputs), output_names=outputs,
        dynamic_shapes=_by_argument(module, shapes), opset_version=opset, external_data=False, optimize=True,
        verify=False, report=False, verbose=False,
    )  # fmt: skip
    assert program is not None
    model: ModelProto = program.model_proto
    _name_axes(model, signature)
    return model


def _by_argument(module: Any, shapes: tuple[Any, ...]) -> Any:
    """Shapes as torch.export wants them: one per positional argument, gathered where `forward` takes *args."""
    import inspect

    parameters = list(inspect.signature(module.forward).parameters.values())
    for index, parameter in enumerate(parameters):
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            return (*shapes[:index], tuple(shapes[index:]))
    return shapes


def _torchscript(
    module: Any, arguments: tuple[Any, ...], signature: Signature, outputs: list[str], opset: int
) -> "ModelProto":
    from tempfile import TemporaryDirectory

    import torch

    from modelspec.formats import onnx_model

    axes = {
        name: {index: axis for index, axis in enumerate(tensor.shape) if isinstance(axis, str)}
        for name, tensor in signature.inputs.items()
    }
    for placeholder, tensor in zip(outputs, signature.outputs.values(), strict=False):
        axes[placeholder] = {index: axis for index, axis in enumerate(tensor.shape) if isinstance(axis, str)}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            module, arguments, path, dynamo=False, input_names=list(signature.inputs), output_names=outputs,
            dynamic_axes=axes, opset_version=opset,
        )  # fmt: skip
        return onnx_model.read(path)


def _name_axes(model: "ModelProto", signature: Signature) -> None:
    """Give the dynamic axes of the inputs, and wherever they recur, the names of the signature."""
    from modelspec.formats.onnx_model import graphs

    renamed: dict[str, str] = {}
    for value in model.graph.input:
        for dimension, axis in zip(value.type.tensor_type.shape.dim, signature.inputs[value.name].shape, strict=True):
            if dimension.dim_param and isinstance(axis, str):
                renamed[dimension.dim_param] = axis
    for graph in graphs(model):
        for value in (*graph.input, *graph.output, *graph.value_info):
            for dimension in value.type.tensor_type.shape.dim:
                if dimension.dim_param in renamed:
                    dimension.dim_param = renamed[dimension.dim_param]


def _rename(model: "ModelProto", outputs: Mapping[str, str]) -> None:
    """Give the outputs their names; an inner value that has such a name gets another."""
    graph = model.graph
    final = set(outputs.values())
    taken = {value.name for value in graph.input}
    inner = {name: f"{name}_inner" for name in final - taken}
    changed = {**inner, **outputs}
    for node in graph.node:
        _replace(node.input, changed)
        _replace(node.output, changed)
    for value in (*graph.output, *graph.value_info):
        value.name = changed.get(value.name, value.name)
    for weight in graph.initializer:
        weight.name = changed.get(weight.name, weight.name)


def _replace(names: Any, changed: Mapping[str, str]) -> None:
    for index, name in enumerate(names):
        if name in changed:
            names[index] = changed[name]


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters print their progress, and warn of things that the checks after them decide."""
    import logging

    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


@contextmanager
def _refusals(exporter: str) -> Iterator[None]:
    import torch

    try:
        yield
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        other = "torchscript" if exporter == "dynamo" else "dynamo"
        raise fail(
            "MS505",
            f"the {exporter} exporter failed: {lines[0] if lines else type(cause).__name__}",
            help=f"see the log; or try convert: {{exporter: {other}}}",
            path=("exporter",),
        ) from error
