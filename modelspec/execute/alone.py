"""Runs one stage or check at a time in a worker process, outside a plan: what others wrote is never opened in this one."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelspec.errors import Diagnostic, ModelspecError
from modelspec.execute.diagnose import diagnose
from modelspec.execute.job_file import read_result, write_job
from modelspec.execute.pool import Done, Pool
from modelspec.options import Options
from modelspec.plan import Action
from modelspec.stage import Stage
from modelspec.store.files import copy_file
from modelspec.target import Target

_LOG_LINES = 20
_POLL_S = 1.0
_KILL_S = 10.0

Inputs = Mapping[str, Mapping[str, Path]]
"""Slot -> path inside it -> where the file is now."""


@dataclass
class Workers:
    """A pool, a private folder, and how long one check may take."""

    pool: Pool
    folder: Path
    timeout_s: float
    count: int = 0

    def run(self, check: Stage, target: Target, inputs: Inputs) -> bytes:
        """The report of the check. Raises what the worker said, or why it died, with the end of its log as a note."""
        outputs = self.outputs(check, f"{check.name} of {target.label}", {"target": target}, inputs, target.imports)
        return (outputs / "report" / "report.json").read_bytes()

    def outputs(
        self, stage: Stage, label: str, parts: Mapping[str, Options], inputs: Inputs, imports: tuple[str, ...] = ()
    ) -> Path:
        """The folder with what a stage gives, a folder for each slot. Raises as `run` does."""
        self.count += 1
        scratch = self.folder / f"{stage.name}-{self.count}"
        (scratch / "out").mkdir(parents=True)
        for slot, files in inputs.items():
            for name, origin in files.items():
                copy_file(origin, scratch / "in" / slot / name)
        write_job(scratch, Action(scratch.name, label, stage, parts, {}, {}, {}, {}))
        self.pool.run(scratch.name, scratch, (*stage.imports, *imports))
        done, said = self._wait(scratch.name, label), read_result(scratch)
        if done.status or said is None:
            raise ModelspecError(diagnose(said, scratch, done, None), _log(scratch, label))
        return scratch / "out"

    def _wait(self, id_: str, label: str) -> Done:
        end = time.monotonic() + self.timeout_s
        while time.monotonic() < end:
            for done in self.pool.done(min(_POLL_S, self.timeout_s)):
                return done
        self.pool.kill(id_)
        self.pool.done(_KILL_S)
        problem = Diagnostic("MS520", f"{label} ran for more than {self.timeout_s:g} s", help="raise --timeout")
        raise ModelspecError((problem,))


def _log(scratch: Path, label: str) -> tuple[str, ...]:
    try:
        lines = (scratch / "log.txt").read_text(errors="replace").splitlines()[-_LOG_LINES:]
    except OSError:
        return ()
    return (f"end of the log of {label}:", *(f"  {line}" for line in lines)) if lines else ()


@contextmanager
def workers(folder: Path, timeout_s: float) -> Iterator[Workers]:
    """Workers whose server starts with the first check, and ends with the block."""
    folder.mkdir()
    pool = Pool(folder)
    try:
        yield Workers(pool, folder, timeout_s)
    finally:
        pool.close()
