"""The parent's end of the fork server: start it when work appears, hand it jobs, hear which are done, end it."""

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import modelspec

_KEPT = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR")
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
    "ORT_DISABLE_TELEMETRY": "1",
}
_ENDING_S = 20.0
"""How long the server may take to end what is below it."""
_KILLING_S = 30.0
"""How long it may take to answer that it killed a job; importing a large library, it hears nothing for a while."""
_LOG_BYTES = 1 << 16


def environment(home: Path) -> dict[str, str]:
    """What workers see: an allow-list, one thread per library, one locale, no user.

    PYTHONPATH is on it because packages may lie nowhere else. Their versions are keyed like those of all others, and a
    module there that no distribution owns is refused to user code.
    """
    import site

    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    package = Path(modelspec.__file__).parent.parent
    if package.name not in {"site-packages", "dist-packages"}:
        # A checkout that is not installed is found through the working folder, which workers do not share.
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, [kept.get("PYTHONPATH", ""), str(package)]))
    fixed = {**_FIXED, "HOME": str(home), "TMPDIR": str(home), "PYTHONUSERBASE": site.getuserbase()}
    return {**kept, **fixed, **dict.fromkeys(_THREADS, "1")}


def credentials() -> dict[str, str]:
    """What an action that keeps the network sees besides: the proxies, home and keys of whoever builds.

    No code of the user's runs in it, and what it may bring is known by its digest.
    """
    ours = {*_KEPT, *_FIXED, *_THREADS, "TMPDIR"}
    return {n: v for n, v in os.environ.items() if n not in ours and not n.startswith(("PYTHON", "LD_", "MALLOC_"))}


@dataclass(frozen=True)
class Done:
    """A job that ended."""

    id: str
    status: int
    """As wait(2) has it."""
    peak: int = 0
    """Bytes of memory that it, or one process that it waited for, held at most."""
    oom: bool = False
    """Whether the kernel ended a process of this machine meanwhile, because memory ran out."""
    with_server: bool = False
    """Whether it was the server that ended, and every job with it; the status is the server's."""


@dataclass
class Pool:
    """Worker processes, all forks of one server. Nothing is started before `run`."""

    folder: Path
    _server: subprocess.Popen[bytes] | None = None
    _channel: socket.socket | None = None
    _buffer: bytes = b""
    _loaded: set[str] = field(default_factory=set)
    _jobs: dict[str, Path] = field(default_factory=dict)
    _killed: dict[str, float] = field(default_factory=dict)
    """When the server must have answered that the job has ended."""

    def run(
        self,
        id_: str,
        scratch: Path,
        modules: tuple[str, ...],
        memory: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the job in `scratch`; `modules` are loaded in the server first, once.

        `memory`: bytes it may use; `environment`: variables that it alone sees.
        """
        if self._channel is None:
            self._start()
        fresh = [module for module in modules if module not in self._loaded]
        self._loaded.update(fresh)
        self._jobs[id_] = scratch
        self._send(
            {"load": fresh, "run": id_, "job": str(scratch), "memory": memory, "environment": dict(environment or {})}
        )

    def kill(self, id_: str) -> None:
        """End one job; it is reported as done, killed."""
        self._killed[id_] = time.monotonic() + _KILLING_S
        self._send({"kill": id_})

    def done(self, timeout_s: float) -> list[Done]:
        """Jobs that ended, after `timeout_s` at most; all of them when the server died. The next gets a new one."""
        if self._channel is None:
            return []
        if not select.select([self._channel], [], [], timeout_s)[0]:
            return self._lost() if any(time.monotonic() > end for end in self._killed.values()) else []
        try:
            data = self._channel.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            return self._lost()
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        ended = [Done(m["done"], m["status"], m["peak"], m["oom"]) for m in map(json.loads, lines)]
        for done in ended:
            self._jobs.pop(done.id, None)
            self._killed.pop(done.id, None)
        return ended

    def _lost(self) -> list[Done]:
        """The server died, or hangs and is ended: with it every job, whose log gets what the server's has."""
        jobs = self._jobs
        status = self._end_server()
        said = (self.folder / "server.log").read_bytes()[-_LOG_BYTES:]
        for scratch in jobs.values():
            with suppress(OSError), (scratch / "log.txt").open("ab") as log:
                log.write(said)
        return [Done(id_, status, with_server=True) for id_ in jobs]

    def _send(self, message: dict[str, object]) -> None:
        assert self._channel is not None
        with suppress(BrokenPipeError, ConnectionResetError):  # a dead server is heard of in `done`
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
        self._end_server()

    def _end_server(self) -> int:
        """The same; returns the server's status, as wait(2) has it."""
        code = 0
        if self._channel is not None:
            self._channel.close()
        if self._server is not None:
            self._server.terminate()  # only the server itself finds all that is below it
            try:
                code = self._server.wait(_ENDING_S)
            except subprocess.TimeoutExpired:
                self._server.kill()
                code = self._server.wait(_ENDING_S)
        self._server, self._channel, self._buffer = None, None, b""
        self._loaded, self._jobs, self._killed = set(), {}, {}
        return -code if code < 0 else code << 8
