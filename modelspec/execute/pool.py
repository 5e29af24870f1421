"""The parent's end of the fork server: start it when work appears, hand it jobs, hear which are done, end it."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import modelspec

_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_KEPT = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR",
         *_PROXIES, *(name.upper() for name in _PROXIES))  # fmt: skip
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_FIXED = {
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "USER": "modelspec",
    "LOGNAME": "modelspec",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def environment(home: Path) -> dict[str, str]:
    """What workers see: an allow-list, one thread per library, one locale, no user."""
    import site

    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    package = Path(modelspec.__file__).parent.parent
    if package.name not in {"site-packages", "dist-packages"}:
        # A checkout that is not installed is found through the working folder, which workers do not share.
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, [kept.get("PYTHONPATH", ""), str(package)]))
    fixed = {**_FIXED, "HOME": str(home), "TMPDIR": str(home), "PYTHONUSERBASE": site.getuserbase()}
    return {**kept, **fixed, **dict.fromkeys(_THREADS, "1")}


_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Done:
    """A job that ended."""

    id: str
    status: int
    """As wait(2) has it."""
    peak: int
    """Bytes of memory that it held at most."""


@dataclass
class Pool:
    """Worker processes, all forks of one server. Nothing is started before `run`."""

    folder: Path
    _server: subprocess.Popen[bytes] | None = None
    _channel: socket.socket | None = None
    _buffer: bytes = b""
    _loaded: set[str] = field(default_factory=set)

    def run(self, id_: str, scratch: Path, modules: tuple[str, ...], memory: int | None = None) -> None:
        """Start the job in `scratch`; `modules` are loaded in the server first, once. `memory`: bytes it may use."""
        fresh = [module for module in modules if module not in self._loaded]
        self._loaded.update(fresh)
        self._send({"load": fresh, "run": id_, "job": str(scratch), "memory": memory})

    def kill(self, id_: str) -> None:
        """End one job; it is reported as done, killed."""
        self._send({"kill": id_})

    def done(self, timeout_s: float) -> list[Done]:
        """Jobs that ended, after `timeout_s` at most. A dead server is a BrokenPipeError."""
        if self._channel is None or not select.select([self._channel], [], [], timeout_s)[0]:
            return []
        data = self._channel.recv(65536)
        if not data:
            raise BrokenPipeError("the worker server died")
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [Done(message["done"], message["status"], message["peak"]) for message in map(json.loads, lines)]

    def _send(self, message: dict[str, object]) -> None:
        if self._channel is None:
            self._start()
        assert self._channel is not None
        self._channel.sendall(json.dumps(message).encode() + b"\n")

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        command = [
            sys.executable,
            "-P",
            "-m",
            "modelspec.execute.server",
            str(theirs.fileno()),
            str(os.getpid()),
        ]
        with theirs, (self.folder / "server.log").open("ab") as log:
            self._server = subprocess.Popen(  # noqa: S603 - our own module, no user input in the command
                command,
                cwd=self.folder,
                env=environment(home),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._channel = ours

    def close(self) -> None:
        """End the server, its workers and what they started."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._server is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGTERM)  # only the server itself finds all that is below it
            try:
                self._server.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._server.pid, signal.SIGKILL)
                self._server.wait()
            self._server = None
