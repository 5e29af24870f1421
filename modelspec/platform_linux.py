"""System calls that Python does not wrap. `build` is for Linux; `validate` and `plan` never load this file."""

import ctypes
import errno
import os
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def die_with_parent(signal_number: int, parent: int) -> None:
    """Receive a signal when the parent process `parent` dies; at once if it is dead already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal_number)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def leave_network() -> str:
    """Move this process, which must have one thread, where there is no network; returns why not, or "".

    It takes the right to make a network namespace, or a user namespace of one's own. The second costs whatever
    capabilities one has outside, so it is not used by who has any.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) == 0:
        return ""
    reason = _refusal()
    user, group = os.getuid(), os.getgid()
    if _capabilities():
        return f"no network namespace: {reason}"
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return f"no user namespace: {_refusal()}"
    libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # who changed ids since its start may not write these files otherwise
    # Keep the ids, see user_namespaces(7). Some systems refuse it (AppArmor's rules for user namespaces, a read-only
    # /proc): then this process reads its ids as those of nobody, and may do what it could before.
    with suppress(OSError):
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            Path("/proc/self", name).write_text(text)
    return ""


def _refusal() -> str:
    code = ctypes.get_errno()
    return "the limit of namespaces is reached" if code == errno.ENOSPC else os.strerror(code)


def _capabilities() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    return int(line.split()[1], 16)


def network_can_be_left() -> str:
    """Whether `leave_network` works here, tried in a process of its own: why not, or ""."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, leave_network().encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        reason = answer.read()
    os.waitpid(child, 0)
    return reason


def oom_kills() -> int:
    """How many processes the kernel has ended on this machine because memory ran out; 0 where it does not count."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def be_ended_first() -> None:
    """When memory runs out, have the kernel choose this process rather than those it works for."""
    place = Path("/proc/self/oom_score_adj")
    with suppress(OSError):
        place.write_text(str(max(500, int(place.read_text()))))


def exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step (renameat2); False where the file system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    done = libc.renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    if done == 0:
        return True
    code = ctypes.get_errno()
    if code in {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}:
        return False
    raise OSError(code, os.strerror(code), str(first))
