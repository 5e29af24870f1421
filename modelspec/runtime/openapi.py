"""The OpenAPI document of one model: its own names, types and shapes, with the golden inputs as the example."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
from numpy.typing import NDArray

from modelspec.runtime import classes, tensors
from modelspec.runtime.artifact import Arrays, Artifact, Tensor
from modelspec.runtime.protocol import MAX_ID, MAX_PARAMETERS

_JSON_TYPE = {"b": "boolean", "i": "integer", "u": "integer", "f": "number", "O": "string"}
_MAX_EXAMPLE = 4096
"""Elements; a longer example is of one row."""

Schema = dict[str, Any]


def document(artifact: Artifact, *, keys: bool = False) -> bytes:
    """OpenAPI 3.1 as JSON."""
    base = f"/v2/models/{quote(artifact.name)}"
    versioned = f"{base}/versions/{quote(artifact.version, safe='')}"
    paths: Schema = {
        "/v2/health/live": _get("live", "Whether the server runs", "health", open_=True),
        "/v2/health/ready": _get("ready", "Whether the model answers as it did when it was built", "health", open_=True, busy=True),
        "/v2": _get("server", "What the server is", "server"),
        "/metrics": {"get": _operation("metrics", "Figures for Prometheus", {"text/plain": {"schema": {"type": "string"}}})},
        "/openapi.json": {"get": _operation("openapi", "This document", {"application/json": {"schema": {"type": "object"}}})},
    }  # fmt: skip
    for prefix, path in (("", base), ("version_", versioned)):
        paths[path] = _get(f"{prefix}model", "Inputs and outputs of the model", "model")
        paths[f"{path}/ready"] = _get(
            f"{prefix}model_ready", "Whether the model answers", "health", open_=True, busy=True
        )
        paths[f"{path}/infer"] = {"post": _infer(f"{prefix}infer", artifact)}
    components: Schema = {"schemas": _schemas(artifact), "responses": _RESPONSES}
    found: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": artifact.name, "version": artifact.version,
            "description": "Open Inference Protocol, version 2. With the header Inference-Header-Content-Length tensors may be sent as bytes after the JSON.",
        },
        "paths": paths,
        "components": components,
    }  # fmt: skip
    if keys:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"key": []}]
    return orjson.dumps(found, option=orjson.OPT_SERIALIZE_NUMPY)


_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/error"}}}
_RESPONSES: Schema = {
    "refused": {"description": "The request is wrong; the error says what was expected", "content": _ERROR},
    "large": {"description": "The request is larger than the server takes", "content": _ERROR},
    "kind": {"description": "The body is neither JSON nor bytes", "content": _ERROR},
    "busy": {
        "description": "Not now", "content": _ERROR,
        "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds"}},
    },
    "denied": {"description": "No key, a wrong one, or one that may not do this", "content": _ERROR},
    "failed": {"description": "The model gave no answer that can be sent", "content": _ERROR},
}  # fmt: skip


def _operation(name: str, summary: str, content: Schema, **more: str) -> Schema:
    answers = {"400": "refused", "401": "denied", "403": "denied", "503": "busy", **more}
    return {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": "OK", "content": content},
            **{code: {"$ref": f"#/components/responses/{kind}"} for code, kind in sorted(answers.items())},
        },
    }


def _get(name: str, summary: str, schema: str, *, open_: bool = False, busy: bool = False) -> Schema:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    operation = _operation(name, summary, content)
    if open_:
        operation["security"] = []
    if busy:
        operation["responses"]["503"] = {"description": "Not yet, or no longer", "content": content}
    return {"get": operation}


def _infer(name: str, artifact: Artifact) -> Schema:
    answer = {"application/json": {"schema": {"$ref": "#/components/schemas/response"}, "example": response_example(artifact)}}  # fmt: skip
    more = {"413": "large", "415": "kind", "500": "failed"}
    operation = _operation(name, "Run the model", answer, **more)
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/request"}, "example": request_example(artifact)}}  # fmt: skip
    return {**operation, "requestBody": {"required": True, "content": content}}


def request_example(artifact: Artifact) -> Schema:
    """A request that the model answers with `response_example`."""
    return {"inputs": _listed(artifact, artifact.inputs, artifact.golden_inputs)}


def response_example(artifact: Artifact) -> Schema:
    """The recorded answer."""
    outputs = _listed(artifact, artifact.outputs, artifact.golden_outputs)
    return {"model_name": artifact.name, "model_version": artifact.version, "outputs": outputs}


def _listed(artifact: Artifact, side: Mapping[str, Tensor], arrays: Arrays) -> list[Schema]:
    every = (*artifact.golden_inputs.values(), *artifact.golden_outputs.values())
    short = artifact.batch_axis() is not None and sum(array.size for array in every) > _MAX_EXAMPLE
    rows = slice(0, 1) if short else slice(None)
    return [
        {"name": t.name, "datatype": t.datatype, "shape": (array := _rows(arrays[t.name], rows)).shape, "data": _data(array)}
        for t in side.values()
    ]  # fmt: skip


def _rows(array: NDArray[Any], rows: slice) -> NDArray[Any]:
    return array[rows] if array.ndim else array


def _data(array: NDArray[Any]) -> Any:
    # What JSON cannot carry is shown as nothing.
    return tensors.to_json(np.where(np.isfinite(array), array, 0) if array.dtype.kind == "f" else array, "example")


def _parameters(**known: Any) -> Schema:
    """Any parameters, and what those mean that the server knows; `False` is one that does not go with JSON."""
    free: Schema = {"type": ["string", "number", "boolean"]}
    return {"type": "object", "properties": known, "additionalProperties": free, "maxProperties": MAX_PARAMETERS}


def _schemas(artifact: Artifact) -> Schema:
    inputs, outputs = list(artifact.inputs.values()), list(artifact.outputs.values())
    return {
        "error": _object({"error": {"type": "string"}}),
        "server": _object({"name": {"type": "string"}, "version": {"type": "string"}, "extensions": _array({"type": "string"})}),
        "health": _object({"live": {"type": "boolean"}, "ready": {"type": "boolean"}, "name": {"type": "string"}}, {"live"}),
        "metadata_tensor": _object({"name": {"type": "string"}, "datatype": {"type": "string"}, "shape": _array({"type": "integer"})}),
        "model": _object({
            "name": {"const": artifact.name}, "versions": _array({"type": "string"}), "platform": {"type": "string"},
            "inputs": _array({"$ref": "#/components/schemas/metadata_tensor"}), "outputs": _array({"$ref": "#/components/schemas/metadata_tensor"}),
        }),
        "request": _object({
            "id": {"type": "string", "maxLength": MAX_ID}, "parameters": _parameters(binary_data_output={"type": "boolean"}),
            "inputs": _exactly([_tensor(tensor, sent=True) for tensor in inputs]),
            "outputs": _once(outputs),
        }, {"inputs"}),
        "response": _object({
            "model_name": {"const": artifact.name}, "model_version": {"const": artifact.version}, "id": {"type": "string"},
            "outputs": _array({"oneOf": [_tensor(tensor, sent=False) for tensor in (*outputs, *_named(outputs))]}),
        }, {"model_name", "outputs"}),
    }  # fmt: skip


def _named(outputs: list[Tensor]) -> list[Tensor]:
    """The outputs as they come with the parameter `classification`: texts of score, index and name."""
    return [Tensor(t.name, "string", (*t.shape[:-1], "classes")) for t in outputs if classes.is_offered(t)]


def _tensor(tensor: Tensor, *, sent: bool) -> Schema:
    value: Schema = {"type": _JSON_TYPE[tensor.numpy.kind]}
    if sent and (limits := tensor.range or _limits(tensor)):
        value |= {"minimum": limits[0], "maximum": limits[1]}
    nested: Schema = value
    for size in reversed(tensor.shape):
        nested = {"type": "array", "items": nested} | (
            {} if isinstance(size, str) else {"minItems": size, "maxItems": size}
        )
    flat = {"type": "array", "items": value}
    either = [flat] if len(tensor.shape) < 2 or not sent else [flat, nested]  # one axis is flat already
    sizes = [{"type": "integer", "minimum": 1} if isinstance(size, str) else {"const": size} for size in tensor.shape]
    shape: Schema = {"type": "array", "prefixItems": sizes, "minItems": len(sizes), "maxItems": len(sizes)}
    if not sizes:
        del shape["prefixItems"]
    fields = {
        "name": {"const": tensor.name}, "datatype": {"const": tensor.datatype}, "shape": shape,
        "data": {"anyOf": either}, "parameters": _parameters(binary_data_size=False) if sent else _parameters(),
    }  # fmt: skip
    return _object(fields, {"name", "datatype", "shape", "data"}) | {"description": str(tensor)}


def _limits(tensor: Tensor) -> tuple[float, float] | None:
    """What fits into the element type."""
    if tensor.numpy.kind == "f":
        return float(np.finfo(tensor.numpy).min), float(np.finfo(tensor.numpy).max)
    if tensor.numpy.kind in "iu":
        return int(np.iinfo(tensor.numpy).min), int(np.iinfo(tensor.numpy).max)
    return None


def _once(outputs: list[Tensor]) -> Schema:
    """Some of the outputs, none twice."""
    each: list[Schema] = [
        {"contains": {"properties": {"name": {"const": t.name}}}, "minContains": 0, "maxContains": 1} for t in outputs
    ]
    return {**_array({"oneOf": [_wanted(tensor) for tensor in outputs]}), "maxItems": len(outputs), "allOf": each}


def _wanted(tensor: Tensor) -> Schema:
    """One output that is asked for, by its scores or by the names of its classes."""
    count: Any = {"type": "integer", "minimum": 1} if classes.is_offered(tensor) else False
    parameters = _parameters(binary_data={"type": "boolean"}, classification=count)
    return _object({"name": {"const": tensor.name}, "parameters": parameters}, {"name"})


def _object(properties: Schema, required: set[str] | None = None) -> Schema:
    needed = sorted(properties if required is None else required)
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _exactly(kinds: list[Schema]) -> Schema:
    each = [{"contains": kind, "minContains": 1, "maxContains": 1} for kind in kinds]
    return {"type": "array", "items": {"oneOf": kinds}, "minItems": len(kinds), "maxItems": len(kinds)} | (
        {"allOf": each} if len(kinds) > 1 else {}
    )
