"""HTTP connections of uvicorn with what it leaves open: limits and deadlines for clients that are slow, large or many.

One sweep looks at all connections every half second; a timer for each request would cost more than the check.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from modelspec.runtime import protocol
from modelspec.runtime.settings import Settings

SWEEP_S = 0.5
_PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
}


def _peer(transport: asyncio.Transport) -> str | None:
    """The common name of the client's certificate, which the handshake has verified."""
    certificate = transport.get_extra_info("peercert") or {}
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return names[0] if names else None


class Connection(HttpToolsProtocol):
    """One connection of a client."""

    settings: Settings
    """Set on a subclass, for uvicorn makes the instances."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._head_since: float | None = None
        self._body_since: float | None = None
        self._stuck_since: float | None = None
        self._stuck_bytes = 0
        self._received = 0
        self._chunk = 0
        self._draining = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or close it when there are too many."""
        super().connection_made(transport)
        self._head_since = self.loop.time()
        self.app_state = {"peer": _peer(transport)}
        if len(self.connections) > self.settings.max_connections:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Count before the parser keeps what it gets."""
        self._chunk = len(data)
        self._received += len(data)
        over_head = self._head_since is not None and self._received > self.settings.max_headers + len(data)
        if over_head or self._received > 2 * self.settings.max_body + self.settings.max_headers:
            self._refuse(431 if over_head else 413, "the request is too large")
            return
        super().data_received(data)
        if self._idle() and self._head_since is None and self.timeout_keep_alive_task is None:
            self._head_since = self.loop.time()  # empty lines before a request count as its headers

    def on_message_begin(self) -> None:
        """A request starts."""
        super().on_message_begin()
        self._received = self._chunk
        if self._head_since is None:
            self._head_since = self.loop.time()

    def on_headers_complete(self) -> None:
        """Its headers are there."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.settings.max_headers:
            raise ValueError("the headers are too large")
        self._head_since, self._body_since = None, self.loop.time()
        super().on_headers_complete()
        if self._draining:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Its body is there."""
        self._body_since = None
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._head_since = self._body_since = None
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. What it sent whole is still answered; TLS has no such half-closed state."""
        if self._idle() or self.cycle.more_body or self.scheme == "https":
            return False
        self.cycle.keep_alive = False
        return True

    def send_400_response(self, msg: str) -> None:
        """In the form of every other refusal."""
        self._refuse(400, msg)

    def shutdown(self) -> None:
        """Close when idle; what has begun to arrive is still answered."""
        self._draining = True
        if self._idle() and not (self._head_since is not None and self._received):
            self.transport.close()
        elif self.cycle is not None:
            self.cycle.keep_alive = False

    def sweep(self, now: float) -> None:
        """Close when a deadline has passed."""
        if self.flow.read_paused and self._body_since is not None:
            self._body_since = now  # it is the server that does not read
        limits = self.settings
        if self._head_since is not None and now - self._head_since > limits.header_timeout:
            self._refuse(408, "the headers of the request took too long")
        elif self._body_since is not None and now - self._body_since > limits.body_timeout:
            self._refuse(408, "the body of the request took too long")
        self._sweep_writing(now)

    def _sweep_writing(self, now: float) -> None:
        left = 0 if self.transport.is_closing() and not self._buffered() else self._buffered()
        if not left or left != self._stuck_bytes:
            self._stuck_bytes, self._stuck_since = left, now if left else None
        elif self._stuck_since is not None and now - self._stuck_since > self.settings.write_timeout:
            self.transport.abort()

    def _buffered(self) -> int:
        return self.transport.get_write_buffer_size()

    def _idle(self) -> bool:
        cycle: Any = self.cycle
        return cycle is None or (cycle.response_complete and not self.pipeline)

    def _answerable(self) -> bool:
        return self._idle() or not self.cycle.response_started

    def _refuse(self, status: int, message: str) -> None:
        answered = self._idle() and self._body_since is not None  # before its body was there
        self._head_since = self._body_since = None
        if self.transport.is_closing():
            return
        if not self._idle() and not self.cycle.more_body and not self.pipeline:
            # Whatever follows it, a request that arrived whole is answered; nothing more is read.
            self.cycle.keep_alive = False
            return
        if self._answerable() and not answered:
            body = protocol.error(message)
            head = (
                f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()
