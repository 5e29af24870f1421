"""The life of one action, in a process of its own: read job.json, run the stage, write result.json, exit."""

import errno
import os
import random
import resource
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from modelspec.errors import Diagnostic, ModelspecError
from modelspec.execute.job_file import read_job, write_result
from modelspec.execute.memory import limited, ran_out
from modelspec.execute.user_imports import watched
from modelspec.platform_linux import leave_network


def run_job(root: Path, memory: int | None, environment: Mapping[str, str]) -> NoReturn:
    """Run the job in the folder `root` and end this process: with 0 when it succeeded, else with 1."""
    status, out = 1, sys.stdout
    try:
        _enter(root)
        os.environ |= environment
        status = 0 if _run(root, memory) else 1
        out.flush()  # the user's code may have closed it, or put anything in its place
    finally:
        # Not sys.exit: this is a fork, and the server's exit handlers are not ours to run. Those of ONNX Runtime wait
        # for a thread that was not forked, for ever.
        os._exit(status)


def _enter(root: Path) -> None:
    """Make the scratch folder the whole world: working folder, home, temporary files, log."""
    os.chdir(root)
    os.umask(0o022)
    log = os.open(root / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for folder in ("home", "tmp"):
        (root / folder).mkdir()
    os.environ |= {"HOME": str(root / "home"), "TMPDIR": str(root / "tmp")}
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the log has where it crashed; a dump holds weights and samples
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)


def _run(root: Path, memory: int | None) -> bool:
    began = time.monotonic()
    networked = ""

    def say(diagnostics: Iterable[Diagnostic]) -> None:
        write_result(root, diagnostics, time.monotonic() - began, networked)

    try:
        stage, job, distributions = read_job(root)
        networked = "" if stage.network else leave_network()
        with limited(memory), watched(root / "in" / "code", distributions):
            stage.run(job)
    except ModelspecError as error:
        if error.__cause__ is not None:
            # The message has a line of it; the log, which it may refer to, has all.
            _log(error.__cause__)
        say([_out_of_memory(error.diagnostics[0])] if ran_out(error) else error.diagnostics)
        return False
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the one broad except: whatever a library raises, the stage has failed
        _log(error)
        say([_unexpected(error)])
        return False
    say(job.warnings)
    return True


def _log(error: BaseException) -> None:
    """Write the traceback where standard error goes, whatever the user's code has made of sys.stderr."""
    os.write(2, "".join(traceback.format_exception(error)).encode(errors="replace"))


def _out_of_memory(problem: Diagnostic) -> Diagnostic:
    detail = problem.message.removesuffix(": no message")
    return replace(problem, code="MS406", message=f"the worker ran out of memory: {detail}", help="")


def _unexpected(error: BaseException) -> Diagnostic:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Diagnostic("MS403", "no space left for what the worker writes", help="free some space")
    first = str(error).strip().splitlines()[:1]
    message = f"{type(error).__name__}: {first[0] if first else 'no message'}"
    problem = Diagnostic("MS501", message, help="see the log; if model and data are sound, report it")
    return _out_of_memory(problem) if ran_out(error) else problem
