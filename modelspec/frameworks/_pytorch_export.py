"""The two exporters of torch, brought to one behaviour: fixed names, dynamic axes from the signature, no noise."""

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelspec.errors import ModelspecError, fail
from modelspec.generate import SCALES, scaled
from modelspec.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from onnx import ModelProto

EXAMPLE_SIZES = (3, 5, 6, 4, 8)
"""Sizes of dynamic axes for the trace, multiplied by the scales of `generate`. None is that of `generate.AXIS_SIZES` at
its place: an axis that the exporter took for a constant then fails the comparison with the source."""

DEFAULT_OPSET = {"dynamo": 20, "torchscript": 17}


def forward(module: Any, arguments: Sequence[Any]) -> Any:
    """Run the module. Raises MS507 for input that it refuses."""
    try:
        return module(*arguments)
    except (
        RuntimeError,
        TypeError,
        ValueError,
        LookupError,
        ArithmeticError,
        AttributeError,
        NameError,
        AssertionError,
    ) as error:
        shapes = ", ".join(f"{str(a.dtype).removeprefix('torch.')} {list(a.shape)}" for a in arguments)
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise fail(
            "MS507",
            f"the module refuses inputs of {shapes}: {first}",
            help="correct the signature; the log has the line of the code",
            path=("inputs",),
        ) from error


def flatten(value: Any) -> list[tuple[str, Any]]:
    """The tensors of a module's answer, in order, each with the name that the module gives it, or ""."""
    import torch

    if isinstance(value, torch.Tensor):
        return [("", value)]
    items: list[tuple[str, Any]]
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif is_dataclass(value):
        items = [(item.name, getattr(value, item.name)) for item in fields(value)]
    elif isinstance(value, tuple | list):
        items = list(zip(getattr(value, "_fields", [""] * len(value)), value, strict=True))
    else:
        raise fail(
            "MS507", f"the module returned {type(value).__name__}, not tensors", help="return tensors from forward"
        )
    return [(name or inner, tensor) for name, item in items if item is not None for inner, tensor in flatten(item)]


def output_names(signature: Signature, found: Sequence[tuple[str, Any]]) -> list[str]:
    """The names of what `flatten` found: the module's own where each has one, else the signature's, in order, or
    `output_0` and so on. Raises MS507 when module and signature do not agree."""
    own = [name for name, _ in found]
    named = all(own) and len(set(own)) == len(own) and not set(own) & set(signature.inputs)
    said = list(signature.outputs)
    same = named and set(own) == set(said)
    moved = named and not same and any(own.index(name) != said.index(name) for name in set(own) & set(said))
    if said and (len(said) != len(own) or moved):
        which = f": {', '.join(own)}" if named else ""
        raise fail(
            "MS507",
            f"the module returns {len(own)} tensor{'s' * (len(own) != 1)}{which}, and the signature names {', '.join(said)}",
            help="correct signature.outputs",
            path=("outputs",),
        )
    if said and not same:
        return said
    if named:
        return own
    return ["output"] if len(own) == 1 else [f"output_{index}" for index in range(len(own))]


def export(module: Any, signature: Signature, exporter: str, opset: int | None) -> "ModelProto":
    """The ONNX model. Raises MS505 with the exporter's reason when it fails."""
    import torch

    arguments, answer = _trial(module, signature)
    kind = type(answer)
    if exporter == "dynamo" and is_dataclass(kind) and not issubclass(kind, Mapping):
        torch.export.register_dataclass(kind)
    outputs = output_names(signature, flatten(answer))
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


def _trial(module: Any, signature: Signature) -> tuple[tuple[Any, ...], Any]:
    """Arguments that the module takes, and its answer: of the smallest sizes that will do."""
    import torch

    first: ModelspecError | None = None
    for scale in SCALES:
        arguments = tuple(_example(tensor, _axes(signature, scale)) for tensor in signature.inputs.values())
        try:
            with torch.no_grad():
                return arguments, forward(module, arguments)
        except ModelspecError as error:
            first = first or error
    assert first is not None, "there is always something to try"
    raise first


def _axes(signature: Signature, scale: int = 1) -> dict[str, int]:
    """A size for each dynamic axis."""
    return scaled(signature, EXAMPLE_SIZES, scale)


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
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or [type(cause).__name__]
        # A first line that ends so only announces the reason.
        reason = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
        other = "torchscript" if exporter == "dynamo" else "dynamo"
        raise fail(
            "MS505",
            f"the {exporter} exporter failed: {reason}",
            help=f"see the log; or try convert: {{exporter: {other}}}",
            path=("exporter",),
        ) from error
