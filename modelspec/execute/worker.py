"""The life of one action, in a process of its own: read job.json, run the stage, write result.json, exit."""

import errno
import os
import random
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path

from modelspec.errors import Diagnostic, ModelspecError
from modelspec.execute.job_file import read_job, write_result
from modelspec.execute.user_imports import watched
from modelspec.platform_linux import leave_network


def run_job(root: Path) -> None:
    """Run the job in the folder `root` and end this process: with 0 when it succeeded, else with 1."""
    status = 1
    try:
        _enter(root)
        status = 0 if _run(root) else 1
    finally:
        # Not sys.exit: this is a fork, and the server's exit handlers are not ours to run. Those of ONNX Runtime wait
        # for a thread that was not forked, for ever: so not even a log that cannot be written may lead there.
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
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
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)


def _run(root: Path) -> bool:
    began = time.monotonic()
    networked = ""

    def say(diagnostics: Iterable[Diagnostic]) -> None:
        write_result(root, diagnostics, time.monotonic() - began, networked)

    try:
        stage, job, distributions = read_job(root)
        networked = "" if stage.network else leave_network()
        with watched(root / "in" / "code", distributions):
            stage.run(job)
    except ModelspecError as error:
        if error.__cause__ is not None:
            # The message has a line of it; the log, which it may refer to, has all.
            traceback.print_exception(error.__cause__)
        say([_OUT_OF_MEMORY] if _is_out_of_memory(error) else error.diagnostics)
        return False
    except Exception as error:  # noqa: BLE001 - the one broad except: whatever a library raises, the stage has failed
        traceback.print_exc()
        say([_unexpected(error)])
        return False
    say(job.warnings)
    return True


_OUT_OF_MEMORY = Diagnostic("MS406", "the worker ran out of memory", help="use a machine with more, or smaller data")

_MEMORY_WORDS = ("std::bad_alloc", "can't allocate memory", "Cannot allocate memory", "Unable to allocate")
"""What C++ libraries say of it, torch, the kernel and numpy."""


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it comes from, says that memory ran out; libraries have no common type for it."""
    while error is not None:
        if isinstance(error, MemoryError) or any(words in str(error) for words in _MEMORY_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def _unexpected(error: Exception) -> Diagnostic:
    if _is_out_of_memory(error):
        return _OUT_OF_MEMORY
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Diagnostic("MS403", "no space left for what the worker writes", help="free some space")
    first = str(error).strip().splitlines()[:1]
    message = f"{type(error).__name__}: {first[0] if first else 'no message'}"
    return Diagnostic("MS501", message, help="see the log; if model and data are sound, report it")
