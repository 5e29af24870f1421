"""A file server on loopback that can do what servers do wrong."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Served:
    """One file, and how it is served."""

    data: bytes
    cut_after: list[int] = field(default_factory=list)
    """For each of the first answers: the connection ends after so many bytes."""
    failures: list[int] = field(default_factory=list)
    """The status of each of the first answers."""
    redirect: str = ""
    ranges: bool = True
    shifted: bool = False
    """Whether a part is another than the one asked for."""
    tag: str = '"one"'
    silent_s: float = 0.0


@dataclass
class Server:
    """The files by their path, and what was asked."""

    base: str = ""
    files: dict[str, Served] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """The path and the Range of each request."""
    sent: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def put(self, name: str, data: bytes, **how: object) -> str:
        """Serve `data`; returns the address."""
        self.files[f"/{name}"] = Served(data, **how)  # type: ignore[arg-type]
        return f"{self.base}/{name}"


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            server.asked.append((path, self.headers.get("Range", "")))
            served = server.files.get(path)
            if served is None:
                self.answer(404)
            elif served.redirect:
                self.answer(302, {"Location": served.redirect})
            elif served.failures:
                self.answer(served.failures.pop(0))
            else:
                self.give(served)

        def give(self, served: Served) -> None:
            start = 0
            asked = self.headers.get("Range")
            if asked and served.ranges and self.headers.get("If-Range", served.tag) == served.tag:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(served.data):
                    self.answer(416)
                    return
                start -= served.shifted
            body = served.data[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(served.data) - 1}/{len(served.data)}")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", served.tag)
            self.end_headers()
            server.stop.wait(served.silent_s)
            body = body[: served.cut_after.pop(0)] if served.cut_after else body
            self.wfile.write(body)
            server.sent += len(body)
            self.close_connection = True

        def answer(self, status: int, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[Server]:
    """A server that ends with the block; with a certificate (and its key in the same file) it speaks TLS."""
    server = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(server)) as listening:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            listening.socket = context.wrap_socket(listening.socket, server_side=True)
        server.base = f"http{'s' if certificate else ''}://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.stop.set()
            listening.shutdown()
            thread.join(5)
