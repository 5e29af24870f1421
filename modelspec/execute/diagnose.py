"""Why a worker failed: told by itself, by the way it ended, by its log, or by the state of the machine."""

import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

from modelspec.errors import Diagnostic
from modelspec.execute.job_file import Result
from modelspec.execute.memory import speaks_of_it
from modelspec.execute.pool import Done
from modelspec.options import bytes_shown

_NO_SPACE = 64 << 10
"""Bytes below which a disk counts as full."""
_LOG_BYTES = 1 << 16
_IN_USER_CODE = re.compile(r'File "[^"]*/in/code/([^"]+)", line (\d+)')


def diagnose(said: Result | None, scratch: Path, done: Done, limit: int | None) -> tuple[Diagnostic, ...]:
    """The problems of an action that failed. `limit`: the bytes of memory that it was allowed."""
    # The folder may be gone, removed by the user's code: the one above is on the same disk.
    if shutil.disk_usage(scratch.parent).free < _NO_SPACE:
        # Libraries have many words for it, and a worker may be unable to write even those.
        return (Diagnostic("MS403", "no space left for what a worker writes", help="free some space"),)
    problems = said.diagnostics if said else ()
    if not any(problem.severity == "error" for problem in problems):
        problems = (_ended(done, _tail(scratch / "log.txt")),)  # it may die after it has said that all is well
    return tuple(_with_memory(problem, done, limit) for problem in problems)


def _ended(done: Done, log: str) -> Diagnostic:
    """What the wait status and the log tell."""
    if done.with_server:
        how = f"by signal {os.WTERMSIG(done.status)}" if os.WIFSIGNALED(done.status) else "by an error"
        return Diagnostic("MS405", f"the server of the workers was ended {how}", help="see its log; build again")
    killed = os.WIFSIGNALED(done.status) and os.WTERMSIG(done.status) == signal.SIGKILL
    if killed and done.oom:
        return Diagnostic("MS406", "the kernel ended the worker, because memory ran out")
    if not killed and speaks_of_it(log):
        return Diagnostic("MS406", "the worker ran out of memory, and a library gave up")
    if not os.WIFSIGNALED(done.status):
        status = os.WEXITSTATUS(done.status)
        return Diagnostic("MS405", f"the worker ended with {status} before it could say why", help="see its log")
    number = os.WTERMSIG(done.status)
    # Of the threads at the time of a crash, the one that crashed is called the current one.
    place = _IN_USER_CODE.search(log.partition("Current thread")[2])
    where = f" at {place[1]}:{place[2]}" if place else ""
    fix = "see its log" + ("; signal 9 often means that memory ran out" if killed else "")
    return Diagnostic("MS405", f"the worker was ended by signal {number}{where}", help=fix)


def _with_memory(problem: Diagnostic, done: Done, limit: int | None) -> Diagnostic:
    """How much memory the action held, where that may be the cause; and the fix, where it is."""
    held = f"it held {bytes_shown(done.peak)} at most"
    if problem.code == "MS405" and done.peak:
        return replace(problem, why=held)
    if problem.code != "MS406":
        return replace(problem, why=problem.why or _OOM) if done.oom else problem
    if limit is None or done.oom:
        return replace(problem, why=held, help="use a machine with more, fewer --jobs, or smaller data")
    fix = "raise --memory, or use smaller data"
    return replace(problem, why=f"{held}; --memory allows {bytes_shown(limit)}", help=fix)


_OOM = "meanwhile the kernel ended a process of this machine, because memory ran out"


def _tail(log: Path) -> str:
    """The end of a log; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LOG_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
