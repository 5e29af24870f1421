"""A registry that does what registries do wrong, and a server that gives tokens."""

import base64
import datetime as dt
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Asked:
    """What came in: method, path with query, headers."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Scripted:
    """Answers as `answer` says, and remembers what was asked."""

    answer: Callable[[Asked], Answer]
    host: str = ""
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def serving(answer: Callable[[Asked], Answer]) -> Iterator[Scripted]:
    """A server on loopback for the length of the block."""
    server = Scripted(answer)

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            asked = Asked(self.command, self.path, dict(self.headers))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            server.asked.append(asked)
            status, headers, body = server.answer(asked)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = handle_any  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        server.host = f"127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join(5)


class Tokens:
    """Signs tokens that docker-registry accepts, for who shows the password."""

    def __init__(self, folder: Path, user: str, password: str) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        now = dt.datetime.now(dt.UTC)
        self._certificate = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self._key.public_key())
            .serial_number(1).not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )  # fmt: skip
        self.bundle = folder / "bundle.pem"
        self.bundle.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        self._basic = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self.given: list[list[str]] = []

    def answer(self, asked: Asked) -> Answer:
        """A token for the scopes that are asked for."""
        if asked.headers.get("Authorization") != self._basic:
            return 401, {}, b'{"errors": [{"code": "UNAUTHORIZED"}]}'
        query = parse_qs(urlsplit(asked.path).query)
        scopes = query.get("scope", [])
        self.given.append(scopes)
        access = [
            {"type": kind, "name": name, "actions": actions.split(",")}
            for kind, name, actions in (scope.split(":", 2) for scope in scopes)
        ]
        return 200, {}, json.dumps({"token": self._signed(query["service"][0], access)}).encode()

    def _signed(self, service: str, access: object) -> str:
        der = base64.b64encode(self._certificate.public_bytes(serialization.Encoding.DER)).decode()
        now = int(time.time())
        claims = {"iss": "tests", "sub": "alice", "aud": service, "exp": now + 60, "nbf": now - 10, "iat": now, "jti": "1",
                  "access": access}  # fmt: skip
        parts = [_encoded(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "RS256", "x5c": [der]}, claims)]
        signature = self._key.sign(".".join(parts).encode(), padding.PKCS1v15(), hashes.SHA256())
        return ".".join([*parts, _encoded(signature)])


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
