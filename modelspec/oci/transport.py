"""HTTP as registries need it: requests of any size from and to disk, that wait for nobody for long.

`urllib.request` verifies TLS, takes proxies and follows redirections; the libraries for registries hold whole blobs in memory.
"""

import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import TypeVar
from urllib import request
from urllib.error import HTTPError

from modelspec.digest import CHUNK
from modelspec.errors import ModelspecError, fail
from modelspec.web import PASSING, is_loopback, opener, pause

STALL_S = 60.0
"""How long a registry may say nothing."""
_ATTEMPTS = 12
"""In a row that bring nothing on. A registry that fails every second request is got through."""
_ATTEMPTS_TO_CONNECT = 3

_T = TypeVar("_T")
Response = HTTPResponse | HTTPError


class PassingError(Exception):
    """Why an attempt ended that may be made again, and after how many seconds."""

    def __init__(self, reason: str, pause_s: float = 0.0, *, connected: bool = True) -> None:
        super().__init__(reason)
        self.pause_s, self.connected = pause_s, connected


@dataclass(frozen=True)
class Part:
    """A stretch of a file, as the body of a request."""

    path: Path
    start: int
    size: int

    def __iter__(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(self.start)
            left = self.size
            while left and (data := file.read(min(CHUNK, left))):
                left -= len(data)
                yield data


class Transport:
    """Requests to one registry, until the time of the whole command is over."""

    def __init__(self, host: str, timeout_s: float, say: Callable[[str], None]) -> None:
        self.host, self._say = host, say
        self._timeout_s, self._end = timeout_s, time.monotonic() + timeout_s
        self._opener = opener(proxies=not is_loopback(host))

    def send(self, method: str, url: str, headers: dict[str, str], body: bytes | Part | None = None, authorization: str = "") -> Response:  # fmt: skip
        """The answer, whatever its status. Raises PassingError where there is none or it is of a passing fault."""
        asked = request.Request(url, method=method, data=body, headers={"User-Agent": "modelspec", **headers})  # noqa: S310 - http(s) alone has a handler
        if body is not None:
            asked.add_unredirected_header("Content-Length", str(len(body) if isinstance(body, bytes) else body.size))
            if "Content-Type" not in headers:
                asked.add_unredirected_header("Content-Type", "application/octet-stream")
        if authorization:
            asked.add_unredirected_header("Authorization", authorization)  # it stays with this registry
        try:
            answer: Response = self._opener.open(asked, timeout=max(0.1, min(STALL_S, self.left())))
        except HTTPError as error:
            answer = error
        except (OSError, HTTPException) as error:
            raise self._network(error) from None
        if answer.status in PASSING:
            with answer:
                raise PassingError(f"it answers {answer.status}", pause(answer.headers.get("Retry-After", "")))
        return answer

    def left(self) -> float:
        """Seconds of the command's time. Raises MS412 when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            fix = "try again: what is there already is not sent again; --timeout gives it longer"
            raise fail("MS412", f"the registry {self.host} did not finish within {self._timeout_s:g} s", help=fix)
        return left

    def receive(self, response: Response, size: int = CHUNK) -> bytes:
        """What comes next, at most `size` bytes; empty at the end."""
        self.left()
        try:
            return response.read1(size)
        except (OSError, HTTPException, ValueError) as error:  # ValueError: a chunk without a length
            raise PassingError(f"the connection was cut: {error}") from None

    def whole(self, response: Response, limit: int) -> bytes:
        """All of a small answer. Raises MS661 beyond `limit`."""
        data = bytearray()
        while part := self.receive(response, limit + 1 - len(data)):
            data += part
            if len(data) > limit:
                raise fail("MS661", f"the registry {self.host} sends more than {limit >> 20} MiB where a few KiB are due",
                           help="check the address of the registry")  # fmt: skip
        length = response.headers.get("Content-Length", "")
        if not data and not length and "Transfer-Encoding" not in response.headers:
            raise PassingError("the connection was cut in the middle of an answer")
        if length.isascii() and length.isdigit() and int(length) != len(data):
            raise PassingError(f"the connection was cut {int(length) - len(data)} bytes before the end")
        return bytes(data)

    def persist(self, what: str, work: Callable[[], _T], progress: Callable[[], int] = lambda: 0) -> _T:
        """Do `work` until it gets through, as long as attempts bring it on and a few more. Raises MS412."""
        failures, furthest = 0, progress()
        while True:
            try:
                return work()
            except PassingError as error:
                done = progress()
                failures, furthest = (0, done) if done > furthest else (failures + 1, furthest)
                if failures >= (_ATTEMPTS if error.connected else _ATTEMPTS_TO_CONNECT):
                    fix = "check that the registry is up and its address; then try again"
                    message = f"the registry {self.host} fails: {what}: {error}"
                    raise fail("MS412", message, help=fix) from None
                self._say(f"{self.host}: {what}: {error}; again")
                time.sleep(min(max(error.pause_s, min(0.1 * 2**failures, 5.0)), self.left()))

    def _network(self, error: Exception) -> Exception:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            return self._refused(f"its certificate is not trusted: {reason.verify_message}",
                                 "if the certificate is one of your own, name it with SSL_CERT_FILE")  # fmt: skip
        if isinstance(reason, ssl.SSLError) and "WRONG_VERSION_NUMBER" in str(reason):
            return self._refused(
                "it does not speak TLS", "modelspec talks without TLS to a registry on this machine only"
            )
        # Who does not answer at all is not asked twelve times.
        connected = isinstance(reason, (ConnectionResetError, BrokenPipeError, HTTPException))
        return PassingError(str(reason) or type(reason).__name__, connected=connected)

    def _refused(self, reason: str, fix: str) -> ModelspecError:
        return fail("MS412", f"the registry {self.host} cannot be reached: {reason}", help=fix)
