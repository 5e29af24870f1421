"""The fork server: loads heavy libraries once, then forks one process per action.

Started by `pool.py` in a cleaned environment, in a session of its own, it never sees the spec's folder or a model. It
reads one JSON object per line from a socket and answers the same way:

    {"load": ["torch", ...]}                    import these modules before the next fork
    {"run": "<id>", "job": "<scratch folder>", "memory": <bytes or null>, "environment": {<name>: <value>, ...}}
                                                fork; answered by {"done": "<id>", "status": <wait status>,
                                                "peak": <bytes>, "oom": <whether the kernel ran out of memory>}
    {"kill": "<id>"}                            end that fork

What a fork started ends with it, also what took a session of its own; and all of it ends with the server.

`multiprocessing`'s own fork server was not used: it talks pickle, imports the caller's main module into every child,
and its children outlive a killed parent.
"""

import faulthandler
import importlib
import json
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from modelspec.execute.process_tree import end_children
from modelspec.execute.worker import run_job
from modelspec.platform_linux import adopt_orphans, be_ended_first, die_with_parent, oom_kills

_BROKEN = (ImportError, OSError, RuntimeError, AttributeError, TypeError, ValueError, SystemError)
"""What the import of a library that does not fit this machine raises."""


@dataclass(frozen=True)
class _Child:
    pid: int
    oom_kills: int
    """Of the machine, when it was forked."""


def main() -> None:
    """Serve until the other end of the socket is closed."""
    faulthandler.enable()
    signal.signal(signal.SIGTERM, _end)
    die_with_parent(signal.SIGTERM, parent=int(sys.argv[2]))
    adopt_orphans()
    sys.excepthook = _crashed
    _serve(socket.socket(fileno=int(sys.argv[1])))
    _end()


def _serve(channel: socket.socket) -> None:
    selector = selectors.DefaultSelector()
    selector.register(channel, selectors.EVENT_READ)
    children: dict[str, _Child] = {}
    buffer = b""
    while True:
        for ready, _ in selector.select():
            if ready.fileobj is channel:
                data = channel.recv(65536)
                if not data:
                    return
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    _obey(json.loads(line), channel, selector, children)
            else:
                _reap(ready, channel, selector, children)


def _obey(
    message: dict[str, Any],
    channel: socket.socket,
    selector: selectors.BaseSelector,
    children: dict[str, _Child],
) -> None:
    for module in message.get("load", ()):
        # What is missing or broken is reported by the action that needs it, with the fix.
        with suppress(*_BROKEN):
            importlib.import_module(module)
    if "run" in message:
        server, kills = os.getpid(), oom_kills()
        child = os.fork()
        if child == 0:
            try:
                selector.close()
                channel.close()
                _become_worker(server, message)
            finally:
                os._exit(1)  # never by way of this server's exit handlers
        children[message["run"]] = _Child(child, kills)
        selector.register(os.pidfd_open(child), selectors.EVENT_READ, message["run"])
    if (killed := children.get(message.get("kill", ""))) is not None:
        os.kill(killed.pid, signal.SIGKILL)


def _become_worker(server: int, message: dict[str, Any]) -> NoReturn:
    """In the fork: apart from the server and from the other workers, but never longer than they."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()  # a signal to the whole group is then one to this action alone
    die_with_parent(signal.SIGKILL, parent=server)
    adopt_orphans()  # so that those of this action are not taken for those of one that has ended
    be_ended_first()
    run_job(Path(message["job"]), message["memory"], message["environment"])


def _reap(
    ready: selectors.SelectorKey,
    channel: socket.socket,
    selector: selectors.BaseSelector,
    children: dict[str, _Child],
) -> None:
    child = children.pop(ready.data)
    _, status, used = os.wait4(child.pid, 0)
    selector.unregister(ready.fileobj)
    os.close(ready.fd)
    end_children(spared=[other.pid for other in children.values()])
    answer = {
        "done": ready.data,
        "status": status,
        "peak": used.ru_maxrss * 1024,
        "oom": oom_kills() > child.oom_kills,
    }
    channel.sendall(json.dumps(answer).encode() + b"\n")


def _end(*_: object) -> NoReturn:
    """End the workers, whatever they started, and this process."""
    end_children()
    os._exit(0)


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The same after an error of the server's own, which its log then holds."""
    sys.__excepthook__(kind, error, trace)
    end_children()
    os._exit(1)


if __name__ == "__main__":
    main()
