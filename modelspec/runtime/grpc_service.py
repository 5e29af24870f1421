"""The protocol over gRPC: the same checks, queue, keys, figures and audit log as over REST."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from modelspec.runtime import checks, classes, tensors
from modelspec.runtime.app import GONE, App, request_id
from modelspec.runtime.artifact import Arrays, Artifact, Tensor
from modelspec.runtime.errors import ENVIRONMENT, FullError, LateError, RequestError, ServeError
from modelspec.runtime.grpc_messages import CLASSES, SERVICE
from modelspec.runtime.protocol import MAX_ID
from modelspec.runtime.settings import Settings

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
_HEALTH = 16
"""Calls beyond the limit of requests, for those that ask after the server's health."""
_LEAST_PING_MS = 20_000
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


class _Call:
    """One of the calls. Its message is read by our own hand: only so it has a deadline, and comes after the key."""

    def __init__(self, app: App, name: str, answer: Callable[[Any], Awaitable[Any]]) -> None:
        self.app, self.name, self.answer = app, name, answer
        self.route = "infer" if name == "ModelInfer" else f"grpc {name}"

    async def __call__(self, _: Any, context: Any) -> Any:
        """Answer, and record how it ended."""
        began, status, app = time.perf_counter(), 500, self.app
        metadata = dict(context.invocation_metadata())
        seen = {"caller": _certified(context), "request": request_id(metadata.get("x-request-id")), "received": 0}
        app.active += 1
        try:
            found = await self._answered(metadata.get("authorization"), context, seen)
        except RequestError as refusal:
            status = refusal.status
            app.count(refusal, str(seen["request"]))
            if isinstance(refusal, FullError):
                context.set_trailing_metadata((("grpc-retry-pushback-ms", "1000"),))
            await context.abort(_code(refusal), str(refusal))
        except asyncio.CancelledError:
            status = GONE
            raise
        else:
            status = 200
            return found
        finally:
            app.active -= 1
            seconds = time.perf_counter() - began
            app.metrics.answered(self.route, status, seconds)
            if self.name not in _OPEN or status != 200:
                app.audit.write(
                    **seen, client=context.peer(), method="gRPC", route=f"grpc {self.name}", status=status,
                    seconds=round(seconds, 6), model=app.artifact.name, version=app.artifact.version,
                )  # fmt: skip

    async def _answered(self, authorization: str | None, context: Any, seen: dict[str, Any]) -> Any:
        if self.name not in _OPEN:
            if self.app.keys:
                seen["caller"] = self.app.keys.caller(authorization, "infer")
            self.app.admit_one()
        try:
            async with asyncio.timeout(self.app.settings.body_timeout):
                message = await context.read()
        except TimeoutError:
            raise LateError("the message took too long") from None
        if message is grpc.aio.EOF:
            raise RequestError(400, "there is no message")
        seen["received"] = len(message)
        try:
            request = CLASSES[f"{self.name}Request"].FromString(message)
        except DecodeError:
            raise RequestError(400, f"the message is no {self.name}Request") from None
        return await self.answer(request)


def _code(refusal: RequestError) -> Any:
    if isinstance(refusal, LateError):
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return grpc.StatusCode.RESOURCE_EXHAUSTED if isinstance(refusal, FullError) else _CODES[refusal.status]


def _handler(app: App, name: str, answer: Callable[[Any], Awaitable[Any]]) -> Any:
    # On the wire a stream of one message is a message.
    return grpc.stream_unary_rpc_method_handler(
        _Call(app, name, answer).__call__, response_serializer=CLASSES[f"{name}Response"].SerializeToString
    )


def _certified(context: Any) -> str | None:
    names = context.auth_context().get("x509_common_name")
    return names[0].decode("utf-8", "replace") if names else None


def _limits(settings: Settings) -> list[tuple[str, int]]:
    """The limits of HTTP, in the words of gRPC."""
    return [
        ("grpc.max_receive_message_length", settings.max_body),
        ("grpc.max_metadata_size", settings.max_headers),
        ("grpc.absolute_max_metadata_size", settings.max_headers),
        ("grpc.server_handshake_timeout_ms", int(settings.header_timeout * 1000)),
        ("grpc.max_connection_idle_ms", settings.idle_timeout * 1000),
        ("grpc.max_connection_age_ms", settings.connection_age * 1000),
        ("grpc.max_connection_age_grace_ms", int(settings.grace * 1000)),
        ("grpc.max_concurrent_streams", settings.max_requests + _HEALTH),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        # A peer that is gone is noticed, and one that pings without end is sent away.
        ("grpc.keepalive_time_ms", settings.idle_timeout * 1000),
        ("grpc.keepalive_timeout_ms", int(settings.write_timeout * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_PING_MS),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.so_reuseport", 0),
    ]


async def start(app: App) -> tuple[Any, int]:
    """Listen. Returns the server and its port; raises ServeError when the address cannot be had."""
    settings, service = app.settings, Service(app)
    calls = {
        "ServerLive": service.server_live, "ServerReady": service.server_ready, "ModelReady": service.model_ready,
        "ServerMetadata": service.server_metadata, "ModelMetadata": service.model_metadata, "ModelInfer": service.model_infer,
    }  # fmt: skip
    server = grpc.aio.server(maximum_concurrent_rpcs=settings.max_requests + _HEALTH, options=_limits(settings))
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
    chain = settings.tls_cert.read()
    key = settings.tls_key.read() if settings.tls_key else chain
    authority = settings.tls_client_ca.read() if settings.tls_client_ca else None
    return grpc.ssl_server_credentials([(key, chain)], authority, require_client_auth=authority is not None)
