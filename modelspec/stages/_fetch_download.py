"""Downloads that go on where they ended, hash what comes, and wait for nobody for long.

`urllib.request` is enough for http and https: it follows redirects, verifies TLS and takes proxies; what it lacks, to
resume, any client would leave to its caller. Other addresses are left to fsspec.
"""

import json
import os
import re
import ssl
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeVar
from urllib import request
from urllib.error import HTTPError
from urllib.parse import urlsplit

from modelspec import digest
from modelspec.errors import ModelspecError, fail
from modelspec.web import PASSING, opener, pause, shown

STALL_S = 60.0
"""How long a server may say nothing."""
PAUSES_S = (0.5, 1.0, 2.0)
"""Before each new attempt, after one that brought nothing on."""
_PROGRESS = 1 << 20
"""Bytes that make an attempt one that brought the download on."""


_T = TypeVar("_T")


class _PassingError(Exception):
    """Why an attempt ended that may be made again, and after how many seconds."""

    def __init__(self, reason: str, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


def download(uri: str, sha256: str, path: Path) -> None:
    """Bring the bytes at `uri` to `path`, whatever part of them lies there. Raises MS640, MS641 and MS401."""
    with _Partial(path, uri) as partial:
        resumed = partial.size > 0
        if resumed and partial.sha256 == sha256:
            return
        _persist(uri, partial)
        if partial.sha256 != sha256 and resumed:
            _say("the parts do not make the whole; from the start")
            partial.restart("")
            _persist(uri, partial)
        if partial.sha256 == sha256:
            return
        found = partial.sha256
        partial.drop()
    raise fail(
        "MS640",
        f"{shown(uri)} has the SHA-256 {found}, and {sha256} is expected",
        why="what is there now is not what the spec was written for",
        help="find out why it changed; if it is what you want, write its digest",
        path=("sha256",),
    )


def _persist(uri: str, partial: "_Partial") -> None:
    """Read to the end, over as many attempts as bring it on and a few that do not."""
    read = _read_web if uri.startswith(("http://", "https://")) else _read_other
    failures, furthest = 0, partial.size
    while True:
        try:
            read(uri, partial)
        except _PassingError as error:
            failures = 0 if partial.size >= furthest + _PROGRESS else failures + 1
            furthest = max(furthest, partial.size)
            if failures > len(PAUSES_S):
                fix = (
                    "check the address and the network; what came so far is kept, and the next build goes on from there"
                )
                raise fail("MS641", f"{shown(uri)} cannot be had: {error}", help=fix, path=("uri",)) from error
            _say(f"{error}; again from byte {partial.size}")
            time.sleep(max(error.pause_s, PAUSES_S[failures - 1] if failures else 0.0))
        else:
            return


def _read_web(uri: str, partial: "_Partial") -> None:
    with _answer(uri, partial) as response:
        if response.status == 206:
            start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            if start is None or int(start[1]) != partial.size:
                partial.restart("")
                raise _PassingError("the server answered with another part than was asked for")
        else:
            partial.restart(_validator(response))
        length = response.headers.get("Content-Length", "")
        end = partial.size + int(length) if length.isascii() and length.isdigit() else None
        while data := _received(response):
            partial.add(data)
        if end is not None and partial.size != end:
            raise _PassingError(f"the connection was cut {end - partial.size} bytes before the end")


def _answer(uri: str, partial: "_Partial") -> HTTPResponse:
    """The server's answer: the whole, or the part that is missing."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "modelspec"}
    if partial.size:
        headers["Range"] = f"bytes={partial.size}-"
        if partial.validator:
            headers["If-Range"] = partial.validator
    try:
        answer = opener().open(request.Request(uri, headers=headers), timeout=STALL_S)  # noqa: S310 - http(s) alone has a handler
    except HTTPError as error:
        error.close()
        reason = f"{error.code} {error.reason}"
        if error.code == 416 and partial.size:
            partial.restart("")
            raise _PassingError(f"{reason}: there is no such part") from error
        if error.code in PASSING:
            raise _PassingError(reason, pause(error.headers.get("Retry-After", ""))) from error
        raise _refused(uri, reason) from error
    except (OSError, HTTPException) as error:
        raise _network(uri, error) from error
    assert isinstance(answer, HTTPResponse)
    return answer


def _network(uri: str, error: Exception) -> Exception:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        fix = "if the certificate is one of your own, name it with SSL_CERT_FILE"
        return _refused(uri, f"its certificate is not trusted: {reason.verify_message}", fix)
    return _PassingError(str(reason) or type(reason).__name__)


def _received(response: HTTPResponse) -> bytes:
    try:
        return response.read1(digest.CHUNK)
    except (OSError, HTTPException, ValueError) as error:  # ValueError: a chunk without a length
        raise _PassingError(f"the connection was cut: {error}") from error


def _validator(response: HTTPResponse) -> str:
    """What tells the server whether a part still belongs to what it has; a weak tag does not."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _read_other(uri: str, partial: "_Partial") -> None:
    with _opened(uri) as stream:
        _tried(uri, lambda: stream.seek(partial.size))
        while part := _tried(uri, lambda: stream.read(digest.CHUNK)):
            partial.add(part)


def _opened(uri: str) -> BinaryIO:
    if uri.startswith("file://"):
        path = Path(request.url2pathname(urlsplit(uri).path))
        if path.exists() and not path.is_file():
            raise _refused(uri, "it is not a regular file")
        return _tried(uri, lambda: path.open("rb"))
    try:
        return _tried(uri, lambda: _opened_by_fsspec(uri))
    except ImportError as error:
        package = error.name or "the package for it"
        raise fail(
            "MS401", f"{uri.partition(':')[0]}: {error}", help=f"pip install {package}", path=("uri",)
        ) from error
    except ValueError as error:
        raise _refused(uri, str(error)) from error


def _opened_by_fsspec(uri: str) -> BinaryIO:
    import fsspec

    opened: BinaryIO = fsspec.open(uri, "rb").open()
    return opened


def _tried(uri: str, work: Callable[[], _T]) -> _T:
    try:
        return work()
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise _refused(uri, error.strerror or str(error) or type(error).__name__) from error
    except OSError as error:
        raise _PassingError(str(error)) from error


def _refused(uri: str, reason: str, fix: str = "check the address, and whether it can be read without a password") -> ModelspecError:  # fmt: skip
    return fail("MS641", f"{shown(uri)} cannot be had: {reason}", help=fix, path=("uri",))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")  # to the action's log
    sys.stdout.flush()


class _Partial:
    """The file with what came so far, its digest, and what tells the server which version that is of."""

    def __init__(self, path: Path, uri: str) -> None:
        self._path, self._note, self._uri = path, path.with_name(f"{path.name}.json"), uri
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "r+b", 0)
        self._digest, self.size = digest.Running(), 0
        while data := self._file.read(digest.CHUNK):
            self._digest.add(data)
            self.size += len(data)
        self.validator = self._noted()

    def _noted(self) -> str:
        with suppress(OSError, ValueError, KeyError, TypeError):
            noted = json.loads(self._note.read_bytes())
            return str(noted["validator"]) if noted["uri"] == self._uri else ""
        return ""

    @property
    def sha256(self) -> str:
        return self._digest.sha256

    def add(self, data: bytes) -> None:
        view = memoryview(data)
        while view:  # an unbuffered file may take a part only
            view = view[self._file.write(view) :]
        self._digest.add(data)
        self.size += len(data)

    def restart(self, validator: str) -> None:
        """Drop what is there; what comes next is of the version `validator`."""
        self._file.seek(0)
        self._file.truncate()
        self._digest, self.size, self.validator = digest.Running(), 0, validator
        self._note.write_text(json.dumps({"uri": self._uri, "validator": validator}))

    def drop(self) -> None:
        self._path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:  # fmt: skip
        self._file.close()
