"""The fork server: loads heavy libraries once, then forks one process per action.

Started by `pool.py` in a cleaned environment as the head of its own process group, it never sees the spec's folder or
a model. It reads one JSON object per line from a socket and answers the same way:

    {"load": ["torch", ...]}                    import these modules before the next fork
    {"run": "<id>", "job": "<scratch folder>"}  fork; answered by {"done": "<id>", "status": <wait status>}
    {"kill": "<id>"}                            end that fork

`multiprocessing`'s own fork server was not used: it talks pickle, imports the caller's main module into every child,
and its children outlive a killed parent.
"""

import importlib
import json
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from modelspec.execute.worker import run_job
from modelspec.platform_linux import die_with_parent


def main() -> None:
    """Serve until the other end of the socket is closed."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGTERM, _end_group)
    die_with_parent(signal.SIGTERM, parent=int(sys.argv[2]))
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
            selector.close()
            channel.close()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            die_with_parent(signal.SIGKILL, parent=server)
            run_job(Path(message["job"]))
        children[message["run"]] = child
        selector.register(os.pidfd_open(child), selectors.EVENT_READ, message["run"])
    if (killed := children.get(message.get("kill", ""))) is not None:
        os.kill(killed, signal.SIGKILL)


def _reap(
    ready: selectors.SelectorKey,
    channel: socket.socket,
    selector: selectors.BaseSelector,
    children: dict[str, int],
) -> None:
    id_ = ready.data
    _, status = os.waitpid(children.pop(id_), 0)
    selector.unregister(ready.fileobj)
    os.close(ready.fd)
    channel.sendall(json.dumps({"done": id_, "status": status}).encode() + b"\n")


def _end_group(*_: object) -> None:
    """End this process, its workers, and whatever they started."""
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
