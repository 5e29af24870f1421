"""ONNX files: read after a preflight of our own, written without what leaks or varies.

The library's checker is not a validator: it passes external data that is too short. So external data is checked here:
it must be a plain file beside the model, named without folders, and hold every byte that the model promises.
"""

import math
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelspec.errors import fail
from modelspec.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

EXTERNAL_BYTES = 1_500_000_000
"""Above this the weights go to a second file: a protobuf may not reach 2 GiB."""

PRODUCER = "modelspec"


def read(path: Path) -> "ModelProto":
    """The model with all its weights in memory. Raises MS504 for what cannot be parsed, MS613 for unsafe external data."""
    import onnx
    from google.protobuf.message import DecodeError

    data = path.read_bytes()
    if not data:
        raise fail("MS504", f"{path.name} is empty", help="export the model again")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise fail("MS504", f"{path.name} is not an ONNX file", help="export the model again") from error
    if not model.HasField("graph") or not model.ir_version:
        raise fail("MS504", f"{path.name} is not an ONNX model: it has no graph", help="export the model again")
    for tensor in tensors(model):
        _check_tensor(tensor, path.parent)
    onnx.load_external_data_for_model(model, str(path.parent))
    return model


def _check_tensor(tensor: "TensorProto", folder: Path) -> None:
    import onnx

    if any(size < 0 for size in tensor.dims):
        raise fail("MS613", f"the tensor {tensor.name!r} has a negative dimension")
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if not location or "/" in location or "\\" in location or location in {".", ".."} or location.startswith("*"):
        raise fail(
            "MS613",
            f"the external data of {tensor.name!r} is at {location!r}, not beside the model",
            help="save the model with its external data in one file beside it",
        )
    data = folder / location
    try:
        status = data.lstat()
    except OSError as error:
        raise fail(
            "MS613",
            f"the external data {location!r} of {tensor.name!r} is missing",
            help="name the folder that holds the model and its data as the artifact",
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise fail(
            "MS613", f"the external data {location!r} is not a plain file", help="copy the file instead of linking it"
        )
    offset, length = _number(entries, "offset", tensor.name), _number(entries, "length", tensor.name)
    needed = math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    if offset + max(length, needed) > status.st_size:
        raise fail(
            "MS613",
            f"the external data {location!r} is too short for {tensor.name!r}",
            help="copy the file again; it was cut off",
        )


def _number(entries: dict[str, str], key: str, tensor: str) -> int:
    value = entries.get(key, "0")
    if not value.isdigit() or len(value) > 18:
        raise fail("MS613", f"the external data of {tensor!r} has the {key} {value!r}")
    return int(value)


def graphs(model: "ModelProto") -> "Iterator[GraphProto]":
    """The graph and every graph inside it, or inside a function."""
    waiting: list[Any] = [model.graph]
    nodes: list[NodeProto] = [node for function in model.functions for node in function.node]
    while waiting or nodes:
        if waiting:
            graph = waiting.pop()
            yield graph
            nodes += graph.node
        else:
            for attribute in nodes.pop().attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def tensors(model: "ModelProto") -> "Iterator[TensorProto]":
    """Every tensor: initializers, sparse ones, and those in attributes, at any depth."""
    nodes = [node for function in model.functions for node in function.node]
    for graph in graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        nodes += graph.node
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


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


def write(model: "ModelProto", path: Path, *, external_bytes: int = EXTERNAL_BYTES) -> None:
    """Write the model, stripped, so that equal models give equal bytes; large weights go to `<name>.data` beside it."""
    import onnx

    strip(model)
    if model.ByteSize() > external_bytes:
        onnx.save_model(
            model, str(path), save_as_external_data=True, all_tensors_to_one_file=True,
            location=f"{path.name}.data", size_threshold=1024, convert_attribute=False,
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
    name = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    name = {"float": "float32", "double": "float64"}.get(name, name)
    if name not in _DTYPES:
        raise fail("MS507", f"the {side} {value.name!r} has elements of type {name}, which cannot be built")
    if not tensor.HasField("shape") and side == "input":
        raise fail("MS514", f"the {side} {value.name!r} has no rank", help="export the model with shapes")
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
