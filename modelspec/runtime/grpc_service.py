"""The protocol over gRPC: the same checks, queue, keys, figures and audit log as over REST."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc

from modelspec.runtime import checks, classes, tensors
from modelspec.runtime.app import App, request_id
from modelspec.runtime.artifact import Arrays, Artifact, Tensor
from modelspec.runtime.errors import ENVIRONMENT, RequestError, ServeError
from modelspec.runtime.grpc_messages import CLASSES, SERVICE
from modelspec.runtime.protocol import MAX_ID

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}
_CONTENTS = {
    "BOOL": "bool", "INT8": "int", "INT16": "int", "INT32": "int", "INT64": "int64", "UINT8": "uint", "UINT16": "uint",
    "UINT32": "uint", "UINT64": "uint64", "FP32": "fp32", "FP64": "fp64", "BYTES": "bytes",
}  # fmt: skip
_OPEN = {"ServerLive", "ServerReady", "ModelReady"}


class Service:
    """The six calls."""

    def __init__(self, app: App) -> None:
        self.app, self.artifact = app, app.artifact

    async def server_live(self, _: Any) -> Any:
        """Whether the server runs."""
        return CLASSES["ServerLiveResponse"](live=True)

    async def server_ready(self, _: Any) -> Any:
        """Whether the model answers as it did when it was built."""
        return CLASSES["ServerReadyResponse"](ready=self.app.is_ready)

    async def model_ready(self, request: Any) -> Any:
        """The same, of the one model."""
        self._this(request.name, request.version)
        return CLASSES["ModelReadyResponse"](ready=self.app.is_ready)

    async def server_metadata(self, _: Any) -> Any:
        """What the server is."""
        return CLASSES["ServerMetadataResponse"](name="modelspec", version="2")

    async def model_metadata(self, request: Any) -> Any:
        """Inputs and outputs."""
        self._this(request.name, request.version)
        found = CLASSES["ModelMetadataResponse"](
            name=self.artifact.name, versions=[self.artifact.version], platform="onnx_onnxv1"
        )
        for side, listed in ((self.artifact.inputs, found.inputs), (self.artifact.outputs, found.outputs)):
            for tensor in side.values():
                sizes = [-1 if isinstance(size, str) else size for size in tensor.shape]
                listed.add(name=tensor.name, datatype=tensor.datatype, shape=sizes)
        return found

    async def model_infer(self, request: Any) -> Any:
        """Run the model."""
        self._this(request.model_name, request.model_version)
        settings = self.app.settings
        if len(request.id) > MAX_ID:
            raise RequestError(400, f"the id must have at most {MAX_ID} characters")
        inputs = read_inputs(request, self.artifact, settings.max_elements)
        checks.values(inputs, self.artifact.inputs, allow_nan=settings.allow_nan, max_text=settings.max_text)
        wanted = _wanted(request, self.artifact)
        found = await self.app.infer(inputs)
        answer = CLASSES["ModelInferResponse"](
            model_name=self.artifact.name, model_version=self.artifact.version, id=request.id
        )
        for name, count in wanted.items():
            tensor, array = self.artifact.outputs[name], found[name]
            if count:
                array = classes.top(array, tensor.labels, count)
            answer.outputs.add(name=name, datatype=classes.DATATYPE if count else tensor.datatype, shape=array.shape)
            answer.raw_output_contents.append(tensors.to_bytes(array))
        return answer

    def _this(self, name: str, version: str) -> None:
        if name != self.artifact.name or version not in {"", self.artifact.version}:
            raise RequestError(404, f"the model here is {self.artifact.name} {self.artifact.version}")


def read_inputs(request: Any, artifact: Artifact, max_elements: int) -> Arrays:
    """The tensors of a request, in the order of the model. Raises RequestError with what was expected."""
    if len(request.inputs) > len(artifact.inputs):
        raise RequestError(400, f"{len(request.inputs)} inputs, and the model has {len(artifact.inputs)}")
    checks.names([entry.name for entry in request.inputs], artifact.inputs)
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise RequestError(400, "raw_input_contents must hold one entry for each input")
    arrays: Arrays = {}
    for number, entry in enumerate(request.inputs):
        tensor = artifact.inputs[entry.name]
        shape = checks.shape(tensor, entry.datatype, list(entry.shape), max_elements)
        if raw and entry.contents.ByteSize():
            raise RequestError(400, f"input {tensor.name!r} has both contents and raw_input_contents")
        if raw:
            arrays[tensor.name] = tensors.from_bytes(tensor, memoryview(raw[number]), shape)
        else:
            arrays[tensor.name] = tensors.from_json(tensor, _contents(tensor, entry.contents), shape)
        max_elements -= arrays[tensor.name].size
    return {name: arrays[name] for name in artifact.inputs}


def _contents(tensor: Tensor, contents: Any) -> list[Any]:
    kind = _CONTENTS.get(tensor.datatype)
    if kind is None:
        raise RequestError(400, f"{tensor.datatype} is only taken as raw_input_contents")
    values = list(getattr(contents, f"{kind}_contents"))
    if kind != "bytes":
        return values
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError:
        raise RequestError(400, f"input {tensor.name!r} is not UTF-8 text") from None


def _wanted(request: Any, artifact: Artifact) -> dict[str, int]:
    """The outputs asked for, with how many of their classes by name (0: the output itself)."""
    names = [entry.name for entry in request.outputs]
    if unknown := [name for name in names if name not in artifact.outputs]:
        raise RequestError(400, f"the model has no output {unknown[0][:100]!r}; it has {', '.join(artifact.outputs)}")
    if len(set(names)) != len(names):
        raise RequestError(400, "an output is asked for twice")
    if not names:
        return dict.fromkeys(artifact.outputs, 0)
    return {
        entry.name: classes.asked(artifact.outputs[entry.name], entry.parameters["classification"].int64_param)
        if "classification" in entry.parameters
        else 0
        for entry in request.outputs
    }


def _handler(app: App, name: str, call: Callable[[Any], Awaitable[Any]]) -> Any:
    route = f"grpc {name}"

    async def handle(request: Any, context: Any) -> Any:
        began, status, caller = time.perf_counter(), 200, _certified(context)
        metadata = dict(context.invocation_metadata())
        identity = request_id(metadata.get("x-request-id"))
        try:
            if app.keys and name not in _OPEN:
                caller = app.keys.caller(metadata.get("authorization"), "infer")
            return await call(request)
        except RequestError as refusal:
            status = refusal.status
            app.count(refusal, identity)
            await context.abort(_CODES[status], str(refusal))
        finally:
            seconds = time.perf_counter() - began
            app.metrics.answered("infer" if name == "ModelInfer" else route, status, seconds)
            if name not in _OPEN or status != 200:
                app.audit.write(
                    request=identity, client=context.peer(), caller=caller, method="gRPC", route=route, status=status,
                    seconds=round(seconds, 6), received=request.ByteSize(), model=app.artifact.name, version=app.artifact.version,
                )  # fmt: skip

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=CLASSES[f"{name}Request"].FromString,
        response_serializer=CLASSES[f"{name}Response"].SerializeToString,
    )


def _certified(context: Any) -> str | None:
    names = context.auth_context().get("x509_common_name")
    return names[0].decode("utf-8", "replace") if names else None


async def start(app: App) -> tuple[Any, int]:
    """Listen. Returns the server and its port; raises ServeError when the address cannot be had."""
    settings, service = app.settings, Service(app)
    calls = {
        "ServerLive": service.server_live, "ServerReady": service.server_ready, "ModelReady": service.model_ready,
        "ServerMetadata": service.server_metadata, "ModelMetadata": service.model_metadata, "ModelInfer": service.model_infer,
    }  # fmt: skip
    server = grpc.aio.server(
        maximum_concurrent_rpcs=settings.max_requests,
        options=[
            ("grpc.max_receive_message_length", settings.max_body),
            ("grpc.max_metadata_size", settings.max_headers),
            ("grpc.server_handshake_timeout_ms", int(settings.header_timeout * 1000)),
            ("grpc.max_connection_idle_ms", settings.idle_timeout * 1000),
            ("grpc.max_concurrent_streams", settings.max_requests),
            ("grpc.so_reuseport", 0),
        ],
    )
    handlers = {name: _handler(app, name, call) for name, call in calls.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    place = f"{host}:{settings.grpc_port}"
    try:
        credentials = _credentials(app)
        port = server.add_secure_port(place, credentials) if credentials else server.add_insecure_port(place)
    except (RuntimeError, OSError) as error:
        raise ServeError(f"cannot listen on {place} for gRPC", ENVIRONMENT) from error
    await server.start()
    return server, port


def _credentials(app: App) -> Any:
    settings = app.settings
    if not settings.tls_cert:
        return None
    chain = Path(settings.tls_cert).read_bytes()
    key = Path(settings.tls_key).read_bytes() if settings.tls_key else chain
    authority = Path(settings.tls_client_ca).read_bytes() if settings.tls_client_ca else None
    return grpc.ssl_server_credentials([(key, chain)], authority, require_client_auth=authority is not None)
