"""The processes below the worker server: what an action started ends with it, however it tried to get away."""

import os
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_PARENT_FIELD = 1
"""Place of the parent's id in /proc/<pid>/stat, counted from behind the name in parentheses (proc(5))."""
_DEADLINE_S = 5.0


def below(root: int) -> list[int]:
    """Every process that descends from `root`, parents before their children."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[_PARENT_FIELD]), []).append(int(path.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]


def kill_tree(root: int) -> None:
    """End a process and all below it."""
    for pid in (root, *below(root)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def end_orphans(workers: Collection[int]) -> None:
    """End what finished actions left behind: children of this process that are no `workers`, and all below them.

    Orphans come to the server because it is their subreaper (see `platform_linux.adopt_orphans`).
    """
    end = time.monotonic() + _DEADLINE_S
    while time.monotonic() < end:
        kept = {pid for worker in workers for pid in (worker, *below(worker))}
        orphans = [pid for pid in below(os.getpid()) if pid not in kept]
        if not orphans:
            return
        for pid in orphans:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in orphans:
            with suppress(ChildProcessError):  # not our own child yet: its parent has to go first
                os.waitpid(pid, 0)
