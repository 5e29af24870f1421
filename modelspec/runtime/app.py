"""The routes: what is asked for by whom, and what is answered. Whatever is not listed here is refused."""

import asyncio
import itertools
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from modelspec.runtime import log, openapi, protocol
from modelspec.runtime.artifact import Arrays, Artifact
from modelspec.runtime.auth import Keys
from modelspec.runtime.checks import OutOfRangeError
from modelspec.runtime.errors import BusyError, FullError, LateError, RequestError
from modelspec.runtime.log import Audit
from modelspec.runtime.metrics import Metrics
from modelspec.runtime.model import FailedError
from modelspec.runtime.schedule import Schedule
from modelspec.runtime.settings import Settings

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

JSON, BINARY = "application/json", "application/octet-stream"
FORM = "application/x-www-form-urlencoded"
"""What curl says of its data unless it is told: a page of another site could send it from a browser, so it is refused."""
_OK = 200
GONE = 499
"""The status in the log of a request whose client did not wait for the answer."""
_START, _COUNT = secrets.token_hex(10), itertools.count()
"""Of request ids: unlike those of any other process, and cheap."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


@dataclass(frozen=True)
class Answer:
    """What goes back."""

    status: int
    parts: Sequence[bytes]
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, body: bytes, status: int = 200) -> "Answer":
        """One JSON document."""
        return cls(status, (body,), {"content-type": JSON})


class Request:
    """What came: the headers now, the body when it is asked for."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._receive = receive
        self.size = 0
        """Bytes of the body received."""
        self.caller: str | None = scope["state"].get("peer")
        """The name of the key, else that of the client certificate."""
        self.id = request_id(self.header("x-request-id"))
        """For the logs; the id within the body is the client's own affair."""

    def header(self, name: str) -> str | None:
        """One header; of several of one name the last."""
        value = self.headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises RequestError before more than the limit is kept."""
        length = self.header("content-length")
        if length is not None and int(length) > limit:
            raise RequestError(413, f"the body has {length} bytes, and at most {limit} are taken")
        parts: list[bytes] = []
        while True:
            event = await self._receive()
            if event["type"] != "http.request":
                raise DisconnectedError
            parts.append(event["body"])
            self.size += len(parts[-1])
            if self.size > limit:
                raise RequestError(413, f"the body has more than {limit} bytes")
            if not event["more_body"]:
                return parts[0] if len(parts) == 1 else b"".join(parts)


def request_id(given: str | None) -> str:
    """The caller's own where it is harmless, else a new one."""
    return given if given and _ID.fullmatch(given) else f"{_START}{next(_COUNT):012x}"


class DisconnectedError(Exception):
    """The client went away, or a deadline of its connection passed."""


Handler = Callable[[Request], Awaitable[Answer]]


class Route(NamedTuple):
    """What is answered at a path; `role` is None where no key is asked for."""

    method: str
    handler: Handler
    role: str | None
    name: str


async def _nothing(_: Request) -> Answer:
    raise AssertionError("never admitted")


_NOWHERE = Route("", _nothing, "infer", "none")


class App:
    """An ASGI application. It is live at once, and ready when `schedule` is set."""

    def __init__(self, artifact: Artifact, settings: Settings, keys: Keys | None, audit: Audit) -> None:
        self.artifact, self.settings = artifact, settings
        self.metrics = Metrics(artifact)
        self.keys, self.audit = keys, audit
        self.schedule: Schedule | None = None
        self.draining = False
        self.active = 0
        """Requests that are being answered, over either protocol."""
        self._routes: dict[bytes, Route] = {}
        self._openapi = openapi.document(artifact, keys=keys is not None)
        self._add("GET", "/openapi.json", self._document)
        self._add("GET", "/metrics", self._metrics, "metrics")
        self._model_routes()
        self.metrics.watch("in_flight", "Requests that are being answered.", lambda: self.active)
        self.metrics.watch("queue", "Requests that wait for the model.", lambda: self.schedule.length if self.schedule else 0)  # fmt: skip
        self.metrics.watch("ready", "1 when the model answers.", lambda: self.is_ready)
        self.metrics.watch("audit_lines_lost", "Lines of the audit log that could not be written.", lambda: audit.lost)

    def _add(self, method: str, path: str, handler: Handler, role: str | None = "infer") -> None:
        self._routes[path.encode()] = Route(method, handler, role, handler.__name__.removeprefix("_"))

    @property
    def is_ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.schedule is not None and not self.draining

    def _model_routes(self) -> None:
        self._add("GET", "/v2/health/live", self._live, None)
        self._add("GET", "/v2/health/ready", self._ready, None)
        for path in ("/v2", "/v2/"):
            self._add("GET", path, self._server)
        name, version = self.artifact.name, self.artifact.version
        # A client may write a plus in a version as %2B; no other spelling of a path is known.
        for model in {f"/v2/models/{name}", f"/v2/models/{quote(name, safe='')}"}:
            for base in {model, f"{model}/versions/{version}", f"{model}/versions/{quote(version, safe='')}"}:
                self._add("GET", base, self._model)
                self._add("GET", f"{base}/ready", self._ready, None)
                self._add("POST", f"{base}/infer", self._infer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        self.active += 1
        request = Request(scope, receive)
        route = self._routes.get(scope["raw_path"], _NOWHERE)
        status = GONE
        try:
            answer = await self._answer(request, route)
            status = answer.status
            await self._send(answer, request, send)
        except DisconnectedError:
            pass
        finally:
            self.active -= 1
            seconds = time.perf_counter() - began
            self.metrics.answered(route.name, status, seconds)
            self._record(request, route, status, seconds)

    async def _answer(self, request: Request, route: "Route") -> Answer:
        try:
            self._admit(request, route)
            return await route.handler(request)
        except RequestError as refusal:
            self.count(refusal, request.id)
            return _refusal(refusal)

    def count(self, refusal: RequestError, request: str) -> None:
        """Tell the figures and the log what the caller is not told."""
        if isinstance(refusal, OutOfRangeError):
            self.metrics.out_of_range(refusal.input)
        elif isinstance(refusal, FailedError):
            self.metrics.failed()
            log.write("model failed", level="warning", request=request, reason=refusal.reason)

    def _admit(self, request: Request, route: "Route") -> None:
        if route.role and self.keys:
            request.caller = self.keys.caller(request.header("authorization"), route.role)
        if route is _NOWHERE:
            raise RequestError(404, f"nothing is here; the model is at /v2/models/{self.artifact.name}")
        if request.scope["method"] != route.method:
            raise RequestError(405, f"only {route.method} is answered here", {"allow": route.method})
        if route.role:
            self.admit_one()

    def admit_one(self) -> None:
        """Raises FullError when there are too many requests at one time."""
        if self.active > self.settings.max_requests:
            raise FullError("too many requests at one time; try again later")

    def _record(self, request: Request, route: "Route", status: int, seconds: float) -> None:
        if route.role is None and status == _OK:
            return  # probes come every few seconds, and say nothing
        client = request.scope["client"]
        self.audit.write(
            request=request.id, client=client[0] if client else None, caller=request.caller,
            method=request.scope["method"], route=route.name, status=status, seconds=round(seconds, 6),
            received=request.size, model=self.artifact.name, version=self.artifact.version,
        )  # fmt: skip

    async def _send(self, answer: Answer, request: Request, send: Send) -> None:
        headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        headers.append((b"content-length", b"%d" % sum(map(len, answer.parts))))
        headers.append((b"x-request-id", request.id.encode()))
        if self.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": [*headers, *_HEADERS]})
        await send({"type": "http.response.body", "body": b"".join(answer.parts)})

    async def _live(self, _: Request) -> Answer:
        return Answer.json(b'{"live":true}')

    async def _ready(self, _: Request) -> Answer:
        ready = self.is_ready
        return Answer.json(protocol.health(self.artifact, ready=ready), _OK if ready else 503)

    async def _server(self, _: Request) -> Answer:
        return Answer.json(protocol.server_metadata(self.artifact))

    async def _model(self, _: Request) -> Answer:
        return Answer.json(protocol.model_metadata(self.artifact))

    async def _document(self, _: Request) -> Answer:
        return Answer.json(self._openapi)

    async def _metrics(self, _: Request) -> Answer:
        return Answer(_OK, (self.metrics.text(),), {"content-type": CONTENT_TYPE_PLAIN_0_0_4})

    async def infer(self, inputs: Arrays) -> Arrays:
        """The outputs for checked inputs. Raises BusyError when they cannot be had in time."""
        if self.schedule is None:
            raise BusyError("the model is not ready yet")
        try:
            async with asyncio.timeout(self.settings.request_timeout):
                found = await self.schedule.run(inputs)
        except TimeoutError:
            raise LateError("the model did not answer in time") from None
        self.metrics.predicted(found)
        return found

    async def _infer(self, request: Request) -> Answer:
        if self.schedule is None:
            raise BusyError("the model is not ready yet")
        _acceptable(request)
        body = await request.body(self.settings.max_body)
        call = protocol.parse(
            body,
            request.header("inference-header-content-length"),
            self.artifact,
            max_elements=self.settings.max_elements,
            allow_nan=self.settings.allow_nan,
            max_text=self.settings.max_text,
        )
        found = await self.infer(call.inputs)
        parts, head = protocol.answer(call, found, self.artifact)
        if head is None:
            return Answer(200, parts, {"content-type": JSON})
        return Answer(200, parts, {"content-type": BINARY, "inference-header-content-length": str(head)})


def _acceptable(request: Request) -> None:
    kind = (request.header("content-type") or JSON).partition(";")[0].strip().lower()
    if kind not in {JSON, BINARY}:
        fix = "; with curl: -H 'content-type: application/json'" if kind == FORM else ""
        raise RequestError(415, f"the body is {kind[:100]!r}; expected {JSON} or {BINARY}{fix}")
    if (request.header("content-encoding") or "identity").lower() != "identity":
        raise RequestError(415, "compressed bodies are not taken")


def _refusal(refusal: RequestError) -> Answer:
    headers = {"content-type": JSON, **refusal.headers}
    if refusal.status == 413:
        headers["connection"] = "close"  # the rest of the body is not worth reading
    return Answer(refusal.status, (protocol.error(str(refusal)),), headers)
