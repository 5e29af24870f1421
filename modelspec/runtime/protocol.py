"""Requests and answers of the Open Inference Protocol, version 2, over REST, with the binary tensor extension."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from modelspec.runtime import checks, classes, tensors
from modelspec.runtime.artifact import Arrays, Artifact
from modelspec.runtime.errors import RequestError

_SCALARS = (str, int, float, bool)
MAX_ID = 1024
MAX_PARAMETERS = 64


class Wanted(NamedTuple):
    """An output that is asked for: whether as bytes, and how many of its classes by name (0: the output itself)."""

    name: str
    binary: bool
    classes: int = 0


@dataclass(frozen=True)
class Call:
    """A request that passed all checks."""

    id: str | None
    inputs: Arrays
    outputs: tuple[Wanted, ...]


def parse(
    body: bytes, header_length: str | None, artifact: Artifact, *, max_elements: int, allow_nan: bool, max_text: int
) -> Call:
    """Read and check a request. Raises RequestError with what was expected."""
    head, rest = _split(body, header_length)
    request = _mapping(_json(head), "the request", {"id", "parameters", "inputs", "outputs"})
    identity = request.get("id")
    if "id" in request and not (isinstance(identity, str) and len(identity) <= MAX_ID):
        raise RequestError(400, f"the id must be a string of at most {MAX_ID} characters")
    inputs = _inputs(request.get("inputs"), rest, artifact, max_elements)
    checks.values(inputs, artifact.inputs, allow_nan=allow_nan, max_text=max_text)
    binary = _parameters(request, "the request").get("binary_data_output", False)
    return Call(
        identity, inputs, _outputs(request.get("outputs", []), artifact, _boolean(binary, "binary_data_output"))
    )


def _split(body: bytes, header_length: str | None) -> tuple[memoryview, memoryview]:
    view = memoryview(body)
    if header_length is None:
        return view, view[len(view) :]
    if not (header_length.isascii() and header_length.isdigit() and len(header_length) < 12):
        raise RequestError(400, "Inference-Header-Content-Length must be a whole number")
    length = int(header_length)
    if length > len(view):
        raise RequestError(400, f"Inference-Header-Content-Length is {length}, and the body has {len(view)} bytes")
    return view[:length], view[length:]


def _json(head: memoryview) -> Any:
    try:
        return orjson.loads(head)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, f"the request is not valid JSON: {error}") from None


def _mapping(value: Any, what: str, known: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(400, f"{what} must be an object with {', '.join(sorted(known))}")
    for key in value:
        if key not in known:
            raise RequestError(400, f"{what} has the unknown key {key[:100]!r}; expected {', '.join(sorted(known))}")
    return value


def _list(value: Any, what: str, limit: int) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise RequestError(400, f"{what!r} must be a list with at least one tensor")
    if len(value) > limit:
        raise RequestError(400, f"{what!r} has {len(value)} tensors, and the model has {limit}")
    return value


def _parameters(entry: dict[str, Any], what: str) -> dict[str, Any]:
    parameters = entry.get("parameters", {})
    if not isinstance(parameters, dict) or len(parameters) > MAX_PARAMETERS:
        raise RequestError(400, f"the parameters of {what} must be an object of at most {MAX_PARAMETERS} values")
    if not all(isinstance(value, _SCALARS) for value in parameters.values()):
        raise RequestError(400, f"the parameters of {what} must be strings, numbers, true or false")
    return parameters


def _boolean(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise RequestError(400, f"{what} must be true or false")
    return value


def _inputs(listed: Any, rest: memoryview, artifact: Artifact, max_elements: int) -> Arrays:
    known = {"name", "shape", "datatype", "parameters", "data"}
    entries = [_mapping(entry, "an input", known) for entry in _list(listed, "inputs", len(artifact.inputs))]
    found = [_name(entry, "input") for entry in entries]
    checks.names(found, artifact.inputs)
    arrays: Arrays = {}
    for name, entry in zip(found, entries, strict=True):
        tensor = artifact.inputs[name]
        shape = checks.shape(tensor, entry.get("datatype"), entry.get("shape"), max_elements)
        size = _parameters(entry, f"input {name!r}").get("binary_data_size")
        if size is None:
            arrays[name] = tensors.from_json(tensor, entry.get("data"), shape)
        else:
            raw, rest = _take(rest, size, name, given="data" in entry)
            arrays[name] = tensors.from_bytes(tensor, raw, shape)
        max_elements -= arrays[name].size
    if len(rest):
        raise RequestError(
            400, f"{len(rest)} bytes after the JSON belong to no input: binary_data_size says how many do"
        )
    # In the order of the model, whatever the order of the request.
    return {name: arrays[name] for name in artifact.inputs}


def _name(entry: dict[str, Any], what: str) -> str:
    name = entry.get("name")
    if not isinstance(name, str):
        raise RequestError(400, f"the name of an {what} must be a string")
    return name


def _take(rest: memoryview, size: Any, name: str, *, given: bool) -> tuple[memoryview, memoryview]:
    if type(size) is not int or size < 0 or size > len(rest):
        raise RequestError(
            400, f"binary_data_size of input {name!r} is {str(size)[:30]}, and {len(rest)} bytes are left"
        )
    if given:
        raise RequestError(400, f"input {name!r} has both data and binary_data_size")
    return rest[:size], rest[size:]


def _outputs(listed: Any, artifact: Artifact, binary: bool) -> tuple[Wanted, ...]:
    if listed == []:
        return tuple(Wanted(name, binary) for name in artifact.outputs)
    wanted: dict[str, Wanted] = {}
    for entry in _list(listed, "outputs", len(artifact.outputs)):
        name = _name(_mapping(entry, "an output", {"name", "parameters"}), "output")
        if name not in artifact.outputs:
            raise RequestError(400, f"the model has no output {name[:100]!r}; it has {', '.join(artifact.outputs)}")
        parameters = _parameters(entry, f"output {name!r}")
        if name in wanted:
            raise RequestError(400, f"output {name!r} is asked for twice")
        count = parameters.get("classification")
        number = 0 if count is None else classes.asked(artifact.outputs[name], count)
        wanted[name] = Wanted(name, _boolean(parameters.get("binary_data", binary), "binary_data"), number)
    return tuple(wanted.values())


def answer(call: Call, found: Arrays, artifact: Artifact) -> tuple[Sequence[bytes], int | None]:
    """The parts of the answer's body, and the length of the JSON where bytes follow it."""
    listed: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for name, binary, count in call.outputs:
        tensor, array = artifact.outputs[name], found[name]
        if count:
            array = classes.top(array, tensor.labels, count)
        datatype = classes.DATATYPE if count else tensor.datatype
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": array.shape}
        if binary:
            parts.append(tensors.to_bytes(array))
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            entry["data"] = tensors.to_json(array, name)
        listed.append(entry)
    body: dict[str, Any] = {"model_name": artifact.name, "model_version": artifact.version}
    if call.id is not None:
        body["id"] = call.id
    body["outputs"] = listed
    head = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    return (head, *parts), (len(head) if parts else None)


def error(message: str) -> bytes:
    """The body of every answer that is not 200."""
    return orjson.dumps({"error": message.encode("utf-8", "replace").decode()})


def health(artifact: Artifact, *, ready: bool) -> bytes:
    """Of GET /v2/health/ready."""
    return orjson.dumps({"name": artifact.name, "live": True, "ready": ready})


def server_metadata(artifact: Artifact) -> bytes:
    """Of GET /v2."""
    named = ["classification"] if any(map(classes.is_offered, artifact.outputs.values())) else []
    return orjson.dumps({"name": "modelspec", "version": "2", "extensions": ["binary_tensor_data", *named]})


def model_metadata(artifact: Artifact) -> bytes:
    """Of GET /v2/models/<name>."""

    def listed(side: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {"name": t.name, "datatype": t.datatype, "shape": [-1 if isinstance(n, str) else n for n in t.shape]}
            for t in side.values()
        ]

    return orjson.dumps(
        {
            "name": artifact.name, "versions": [artifact.version], "platform": "onnx_onnxv1",
            "inputs": listed(artifact.inputs), "outputs": listed(artifact.outputs),
        }
    )  # fmt: skip
