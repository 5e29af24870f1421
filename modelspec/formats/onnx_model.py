"""ONNX files: read after a preflight of our own, written without what leaks or varies.

The library's checker is not a validator: it passes external data that is too short. So what a model promises is
compared with what is there, in plain Python and before any of it is used; see the modules `onnx_*` beside this one.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelspec.errors import fail
from modelspec.formats.onnx_parts import graphs as graphs  # noqa: PLC0414 - part of what this module offers
from modelspec.formats.onnx_parts import parts
from modelspec.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from onnx import FunctionProto, ModelProto, ValueInfoProto

EXTERNAL_BYTES = 1_500_000_000
"""Above this the weights go to a second file: a protobuf may not reach 2 GiB."""

MAX_BYTES = 2**31 - 1

MAX_ELEMENTS = 2**36
"""No machine holds an input or output of more."""

PRODUCER = "modelspec"


def read(path: Path) -> "ModelProto":
    """The model with all its weights in memory. Raises MS504 for what is no sound model, MS613 for what promises data
    that is not there or lies elsewhere, MS513 for operators that the runtime has not."""
    from modelspec.formats import onnx_external, onnx_graph, onnx_tensor

    model = _parse(path)
    found = parts(model)
    onnx_graph.check(model, found)
    onnx_tensor.check(found)
    onnx_external.load(found, path.parent)
    onnx_tensor.check_indices(found)
    return model


def _parse(path: Path) -> "ModelProto":
    """Protobuf refuses what lies more than 100 messages deep, so that nothing below need fear for the stack."""
    import onnx
    from google.protobuf.message import DecodeError

    if (size := path.stat().st_size) > MAX_BYTES:
        raise fail(
            "MS504",
            f"{path.name} has {size} bytes, and an ONNX file may not reach 2 GiB",
            help="save it with its weights in a file beside it: onnx.save(..., save_as_external_data=True)",
        )
    if not size:
        raise fail("MS504", f"{path.name} is empty", help="export the model again")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise fail("MS504", f"{path.name} is not an ONNX file", help="export the model again") from error
    if not model.HasField("graph") or not model.ir_version:
        raise fail("MS504", f"{path.name} is not an ONNX model: it has no graph", help="export the model again")
    return model


def strip(model: "ModelProto") -> None:
    """Remove what leaks or varies: stack traces, paths, doc strings, producer noise."""
    for field in ("metadata_props", "doc_string", "producer_version", "domain", "model_version"):
        model.ClearField(field)
    model.producer_name = PRODUCER
    functions: list[FunctionProto] = list(model.functions)
    for holder in functions:
        _clear(holder)
        for value in holder.value_info:
            _clear(value)
        for node in holder.node:
            _clear(node)
    for graph in graphs(model):
        _clear(graph)
        for part in (*graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
            _clear(part)
    for node in (node for graph in graphs(model) for node in graph.node):
        for attribute in node.attribute:
            attribute.ClearField("doc_string")


def _clear(part: Any) -> None:
    for field in ("metadata_props", "doc_string"):
        part.ClearField(field)


def weight_bytes(model: "ModelProto") -> int:
    """Bytes of all tensors; protobuf cannot count a message beyond 2 GiB."""
    return sum(tensor.ByteSize() for tensor in parts(model).tensors)


def write(model: "ModelProto", path: Path, *, external_bytes: int = EXTERNAL_BYTES) -> None:
    """Write the model, stripped, so that equal models give equal bytes; large weights go to `<name>.data` beside it."""
    import onnx

    strip(model)
    data = path.with_name(f"{path.name}.data")
    data.unlink(missing_ok=True)  # the library would append to it
    if weight_bytes(model) > external_bytes:
        onnx.save_model(
            model, str(path), save_as_external_data=True, all_tensors_to_one_file=True,
            location=data.name, size_threshold=1024, convert_attribute=False,
        )  # fmt: skip
        # Saving took the weights out of the caller's model: put them back.
        onnx.load_external_data_for_model(model, str(path.parent))
        model = onnx.ModelProto()
        model.ParseFromString(path.read_bytes())
    path.write_bytes(model.SerializeToString(deterministic=True))


def opset(model: "ModelProto") -> int:
    """The version of the default operator set."""
    return next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), 0)


def signature_of(model: "ModelProto") -> Signature:
    """Inputs that are not weights, and outputs. Raises MS507 for what is no dense tensor, or has no rank."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    return Signature(
        inputs={value.name: _tensor_spec(value, "input") for value in inputs},
        outputs={value.name: _tensor_spec(value, "output") for value in model.graph.output},
    )


def fill_shapes(values: Iterable["ValueInfoProto"], shapes: Mapping[str, Sequence[int | str]]) -> None:
    """Give the tensors without a rank the shapes of that name."""
    for value in values:
        tensor = value.type.tensor_type
        if value.type.WhichOneof("value") == "tensor_type" and not tensor.HasField("shape") and value.name in shapes:
            tensor.shape.SetInParent()
            for axis in shapes[value.name]:
                dimension = tensor.shape.dim.add()
                if isinstance(axis, int):
                    dimension.dim_value = axis
                else:
                    dimension.dim_param = axis


def _tensor_spec(value: "ValueInfoProto", side: str) -> TensorSpec:
    import onnx

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise fail(
            "MS507",
            f"the {side} {value.name!r} is a {(kind or 'value without a type').removesuffix('_type')}, not a tensor",
            help="models with sequences, maps, optionals or sparse tensors at their border cannot be built",
        )
    tensor = value.type.tensor_type
    known = onnx.TensorProto.DataType.DESCRIPTOR.values_by_number.get(tensor.elem_type)
    name = known.name.lower() if known else f"number {tensor.elem_type}"
    name = {"float": "float32", "double": "float64"}.get(name, name)
    if name not in _DTYPES:
        raise fail(
            "MS507",
            f"the {side} {value.name!r} has elements of type {name}, which cannot be built",
            help="export the model with another type at its border, such as float32 or float16",
        )
    if not tensor.HasField("shape") and side == "input":
        written = f"signature: {{inputs: {{{value.name}: {{dtype: {name}, shape: [batch, ...]}}}}}}"
        raise fail("MS514", f"the {side} {value.name!r} has no rank", help=f"write its shape: {written}")
    lengths = [dimension.dim_value for dimension in tensor.shape.dim if dimension.HasField("dim_value")]
    if min(lengths, default=0) < 0 or math.prod(lengths) > MAX_ELEMENTS:
        raise fail(
            "MS507",
            f"the {side} {value.name!r} has impossible dimensions: {lengths}",
            help="export the model with a named dynamic axis in its place",
        )
    shape: list[int | str] = []
    for index, dimension in enumerate(tensor.shape.dim):
        symbol = dimension.dim_param if dimension.HasField("dim_param") else ""
        shape.append(dimension.dim_value if dimension.HasField("dim_value") else _axis(symbol, value.name, index))
    return TensorSpec.model_validate({"dtype": name, "shape": tuple(shape)})


_DTYPES = {
    "float16", "float32", "float64", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "bool", "string",
}  # fmt: skip


def _axis(symbol: str, tensor: str, index: int) -> str:
    """A name for a dynamic axis: its own if it has a plain one, else one that no other tensor's axis shares."""
    cleaned = "".join(char if char.isascii() and char.isalnum() else "_" for char in symbol or f"{tensor}_{index}")
    return f"axis_{cleaned}" if cleaned[0].isdigit() else cleaned
