"""An ONNX model as plain data, in which the order of serialisation and what is only for people do not count."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modelspec.formats import onnx_model

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

    Tensors = dict[str, NDArray[Any]]

_ORDERED = {("GraphProto", "input"), ("GraphProto", "output"), ("FunctionProto", "input"), ("FunctionProto", "output")}
"""Repeated fields of named parts whose order is part of the meaning."""


def outline(model: "ModelProto") -> "tuple[dict[str, Any], Tensors]":
    """The graph without its weights, and every tensor in it by name. A node is known by its outputs, not by its name."""
    onnx_model.strip(model)
    model.ClearField("producer_name")
    tensors: Tensors = {}
    return _message(model, "", tensors), tensors


def _message(part: Any, place: str, tensors: "Tensors") -> dict[str, Any]:
    kind = part.DESCRIPTOR.name
    if kind == "TensorProto":
        return _tensor(part, place, tensors)
    if kind == "GraphProto":
        place = f"{place}/" if place else ""
    found: dict[str, Any] = {}
    for field, value in part.ListFields():
        if kind in {"NodeProto", "GraphProto"} and field.name == "name":
            continue  # read by people only
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            ordered = (kind, field.name) in _ORDERED
            found[field.name] = _repeated(value, place, tensors, ordered=ordered)
        else:
            inner = f"{place}.{field.name}" if kind == "SparseTensorProto" else place
            found[field.name] = _one(value, inner, tensors)
    return found


def _one(value: Any, place: str, tensors: "Tensors") -> Any:
    if hasattr(value, "ListFields"):
        return _message(value, place, tensors)
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _repeated(values: Sequence[Any], place: str, tensors: "Tensors", *, ordered: bool) -> Any:
    """By name where the parts have one and their order says nothing, else as a list."""
    names = [_name(value) for value in values]
    if ordered or None in names or len(set(names)) < len(names):
        return [_one(value, f"{place}[{index}]", tensors) for index, value in enumerate(values)]
    return {
        name: _one(value, _below(place, value, str(name)), tensors) for name, value in zip(names, values, strict=True)
    }


def _below(place: str, value: Any, name: str) -> str:
    """The place of what is inside a named part: `<graph>/<node>.<attribute>`."""
    joint = "." if value.DESCRIPTOR.name == "AttributeProto" else ""
    return f"{place}{joint}{name}"


def _name(value: Any) -> str | None:
    kind = value.DESCRIPTOR.name if hasattr(value, "DESCRIPTOR") else ""
    if kind == "NodeProto":
        return "+".join(value.output)
    if kind == "OperatorSetIdProto":
        return value.domain or "ai.onnx"
    if kind in {"TensorProto", "AttributeProto", "ValueInfoProto", "FunctionProto"}:
        return str(value.name)
    return None


def _tensor(tensor: Any, place: str, tensors: "Tensors") -> dict[str, Any]:
    from onnx import TensorProto, numpy_helper

    tensors[place or tensor.name] = numpy_helper.to_array(tensor)
    return {"type": TensorProto.DataType.Name(tensor.data_type), "dims": list(tensor.dims)}
