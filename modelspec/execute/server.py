"""The fork server: loads heavy libraries once, then forks one process per action.

Started by `pool.py` in a cleaned environment as the head of its own process group, it never sees the spec's folder or
a model. It reads one JSON object per line from a socket and answers the same way:

    {"load": ["torch", ...]}                    import these modules before the next fork
    {"run": "<id>", "job": "<scratch folder>", "memory": <bytes or null>}
                                                fork; answered by {"done": "<id>", "status": <wait status>, "peak": <bytes>}
    {"kill": "<id>"}                            end that fork and all that it started

What a fork started ends with it, also what took a session of its own; and all of it ends with the server.

`multiprocessing`'s own fork server was not used: it talks pickle, imports the caller's main module into every child,
and its children outlive a killed parent.
"""

import importlib
import json
import os
import resource
import selectors
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelspec.execute.process_tree import below, end_orphans, kill_tree
from modelspec.execute.worker import run_job
from modelspec.platform_linux import adopt_orphans, die_with_parent


def main() -> None:
    """Serve until the other end of the socket is closed."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGTERM, _end_group)
    die_with_parent(signal.SIGTERM, parent=int(sys.argv[2]))
    adopt_orphans()
    selector = selectors.DefaultSelector()
    selector.register(channel, selectors.EVENT_READ)
    children: dict[str, int] = {}
    buffer = b""
    while True:
        for ready, _ in selector.select():
            if ready.fileobj is channel:
                data = channel.recv(65536)
                if not data:
                    _end_group()
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    _obey(json.loads(line), channel, selector, children)
            else:
                _reap(ready, channel, selector, children)


def _obey(
    message: dict[str, Any],
    channel: socket.socket,
    selector: selectors.BaseSelector,
    children: dict[str, int],
) -> None:
    for module in message.get("load", ()):
        # What is missing is reported by the action that needs it, with the fix.
        with suppress(ImportError):
            importlib.import_module(module)
    if "run" in message:
        server = os.getpid()
        child = os.fork()
        if child == 0:
            try:
                selector.close()
                channel.close()
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                die_with_parent(signal.SIGKILL, parent=server)
                _limit_memory(message["memory"])
                run_job(Path(message["job"]))
            finally:
                os._exit(1)  # never by way of this server's exit handlers
        children[message["run"]] = child
        selector.register(os.pidfd_open(child), selectors.EVENT_READ, message["run"])
    if (killed := children.get(message.get("kill", ""))) is not None:
        kill_tree(killed)


def _limit_memory(limit: int | None) -> None:
    """Of the limits, the one that counts what is really used: libraries reserve address space by the gigabyte."""
    if limit:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _reap(
    ready: selectors.SelectorKey,
    channel: socket.socket,
    selector: selectors.BaseSelector,
    children: dict[str, int],
) -> None:
    id_ = ready.data
    _, status, used = os.wait4(children.pop(id_), 0)
    selector.unregister(ready.fileobj)
    os.close(ready.fd)
    end_orphans(children.values())
    answer = {"done": id_, "status": status, "peak": used.ru_maxrss * 1024}
    channel.sendall(json.dumps(answer).encode() + b"\n")


def _end_group(*_: object) -> None:
    """End this process, its workers, and whatever they started."""
    for pid in below(os.getpid()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    end_orphans(())
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
