"""The processes below one that adopts orphans: what an action started ends with it, however it tried to get away."""

import os
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_PARENT_FIELD = 1
"""Place of the parent's id in /proc/<pid>/stat, counted from behind the name in parentheses (proc(5))."""
_DEADLINE_S = 10.0
_POLL_S = 0.001


def children() -> set[int]:
    """The children of this process, dead ones that nobody has waited for among them.

    /proc/<pid>/task/<tid>/children would be cheaper, but not every kernel has it.
    """
    own, found = os.getpid(), set()
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - there may be thousands
        with suppress(OSError):
            fields = Path("/proc", name, "stat").read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[_PARENT_FIELD]) == own:
                found.add(int(name))
    return found


def end_children(spared: Collection[int] = ()) -> None:
    """End every child of this process that is not spared, and all that those started.

    What a dying child leaves behind becomes a child of this process, which must adopt orphans
    (`platform_linux.adopt_orphans`): one generation after the other comes up and is ended.
    """
    end = time.monotonic() + _DEADLINE_S
    while (found := children().difference(spared)) and time.monotonic() < end:
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):  # a program with other rights cannot be ended
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(_POLL_S)
