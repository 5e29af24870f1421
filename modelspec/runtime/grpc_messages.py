"""The messages of the protocol's gRPC form, described in code: no generated file is bound to one release of protobuf."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "inference.GRPCInferenceService"

_LABELS = {"one": 1, "many": 3}
_TYPES = {
    "double": 1,
    "float": 2,
    "int64": 3,
    "uint64": 4,
    "int32": 5,
    "bool": 8,
    "string": 9,
    "bytes": 12,
    "uint32": 13,
}

_PARAMETERS = "parameters map"
_TENSOR_METADATA = ("name string", "datatype string", "shape int64 many")
_TENSOR = (
    "name string",
    "datatype string",
    "shape int64 many",
    _PARAMETERS,
    "contents .inference.InferTensorContents",
)

_MESSAGES: dict[str, tuple[str, ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("live bool",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("ready bool",),
    "ModelReadyRequest": ("name string", "version string"),
    "ModelReadyResponse": ("ready bool",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("name string", "version string", "extensions string many"),
    "ModelMetadataRequest": ("name string", "version string"),
    "ModelMetadataResponse": (
        "name string", "versions string many", "platform string",
        "inputs .inference.ModelMetadataResponse.TensorMetadata many",
        "outputs .inference.ModelMetadataResponse.TensorMetadata many",
    ),
    "InferTensorContents": (
        "bool_contents bool many", "int_contents int32 many", "int64_contents int64 many", "uint_contents uint32 many",
        "uint64_contents uint64 many", "fp32_contents float many", "fp64_contents double many", "bytes_contents bytes many",
    ),
    "InferParameter": ("bool_param bool", "int64_param int64", "string_param string", "double_param double", "uint64_param uint64"),
    "ModelInferRequest": (
        "model_name string", "model_version string", "id string", _PARAMETERS,
        "inputs .inference.ModelInferRequest.InferInputTensor many",
        "outputs .inference.ModelInferRequest.InferRequestedOutputTensor many", "raw_input_contents bytes many",
    ),
    "ModelInferResponse": (
        "model_name string", "model_version string", "id string", _PARAMETERS,
        "outputs .inference.ModelInferResponse.InferOutputTensor many", "raw_output_contents bytes many",
    ),
}  # fmt: skip
"""Name, type and `many` of each field; they are numbered as they stand."""

_NESTED: dict[str, dict[str, tuple[str, ...]]] = {
    "ModelMetadataResponse": {"TensorMetadata": _TENSOR_METADATA},
    "ModelInferRequest": {
        "InferInputTensor": _TENSOR,
        "InferRequestedOutputTensor": ("name string", _PARAMETERS),
    },
    "ModelInferResponse": {"InferOutputTensor": _TENSOR},
}


def _fill(message: Any, path: str, fields: tuple[str, ...]) -> None:
    for number, field in enumerate(fields, 1):
        name, kind, *many = field.split()
        if kind == "map":
            _map(message, path, name, number)
            continue
        entry = message.field.add(name=name, number=number, label=_LABELS["many" if many else "one"])
        if kind.startswith("."):
            entry.type, entry.type_name = 11, kind
        else:
            entry.type = _TYPES[kind]
        if path == "inference.InferParameter":
            entry.oneof_index = 0
    if path == "inference.InferParameter":
        message.oneof_decl.add(name="parameter_choice")


def _map(message: Any, path: str, name: str, number: int) -> None:
    entry = message.nested_type.add(name="ParametersEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=1, type=9)
    entry.field.add(name="value", number=2, label=1, type=11, type_name=".inference.InferParameter")
    message.field.add(name=name, number=number, label=3, type=11, type_name=f".{path}.ParametersEntry")


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="modelspec_inference.proto", package="inference", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for inner, inner_fields in _NESTED.get(name, {}).items():
            _fill(message.nested_type.add(name=inner), f"inference.{name}.{inner}", inner_fields)
        _fill(message, f"inference.{name}", fields)
    # A pool of its own: another library may bring the same names.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{name}")) for name in _MESSAGES
    }


CLASSES = _classes()
"""Message classes by name."""
