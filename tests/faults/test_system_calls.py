"""Whole builds that are killed, or refused something, at a system call: the next one is right, with nothing to clean by hand."""

import os
import shutil
import subprocess
import sys
from collections import Counter

import pytest

from tests.build.conftest import MakeProject, make_project
from tests.conftest import Tell
from tests.faults.test_kill import gone
from tests.faults.workbench import SPEC

__all__ = ["make_project"]

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="no strace here: apt-get install strace")

KILLED_AT = ("openat", "write", "fsync", "rename", "unlink", "mkdir", "fchmod", "flock")
REFUSED_AT = {
    "fsync": ("EIO", "ENOSPC"),
    "write": ("ENOSPC", "EIO", "EFBIG"),
    "openat": ("EMFILE", "EROFS"),
    "rename": ("ENOSPC", "EROFS"),
    "mkdir": ("ENOSPC",),
}


class Struck:
    """A small project whose builds are struck at a call of the parent, and the right result to compare with."""

    def __init__(self, make: MakeProject) -> None:
        self.reference, self.project = make("reference", "cache-reference"), make("struck", "cache-struck")
        for each in (self.reference, self.project):
            each.spec.write_text(SPEC)
        self.reference.build()
        # Reading what Python needs to start is no matter of the store: only calls after that are struck.
        counted = self.trace("-e", f"trace={','.join(KILLED_AT)}", "-o", str(self.reference.folder / "trace"))
        assert counted.returncode == 0, counted.stderr
        lines = (self.reference.folder / "trace").read_text().splitlines()
        self.names = [line.split("(")[0] for line in lines]
        first = next(index for index, line in enumerate(lines) if "model.yaml" in line)
        self.before = Counter(self.names[:first])
        self.counts = Counter(self.names)
        self.start_over()

    def trace(self, *options: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["strace", "-qq", *options, sys.executable, "-m", "modelspec", "build"],
            cwd=self.project.folder,
            env={**os.environ, "MODELSPEC_CACHE_DIR": str(self.project.cache)},
            capture_output=True,
            text=True,
        )

    def places(self, call: str, wanted: int) -> list[int]:
        """Numbers of calls, spread over the whole build."""
        first, last = self.before[call] + 1, self.counts[call]
        return sorted({first + (last - first) * step // max(wanted - 1, 1) for step in range(wanted)})

    def strike(self, call: str, what: str, number: int) -> "subprocess.CompletedProcess[str]":
        inject = f"inject={call}:{what}:when={number}"
        done = self.trace("-o", os.devnull, "-e", f"trace={call}", "-e", inject)
        assert gone(self.project.cache, 30), "a worker outlived its build"
        return done

    def require_right_build(self) -> None:
        self.project.build()
        assert self.project.tree()["checksums.txt"] == self.reference.tree()["checksums.txt"]
        assert not list(self.project.dist.parent.glob(".*"))
        assert not list(self.project.folder.glob(".*"))
        said = self.project.run("cache", "verify")
        assert said.returncode == 0, said.stdout + said.stderr
        self.start_over()

    def start_over(self) -> None:
        for folder in (self.project.cache, self.project.folder / "dist"):
            shutil.rmtree(folder)


def kill(struck: Struck, wanted: dict[str, int]) -> int:
    kills = 0
    for call, count in wanted.items():
        for number in struck.places(call, count):
            done = struck.strike(call, "signal=KILL", number)
            kills += done.returncode != 0
            struck.require_right_build()
    return kills


def refuse(struck: Struck, wanted: dict[str, int], errors: dict[str, tuple[str, ...]]) -> Counter[int]:
    ends = Counter[int]()
    for call, count in wanted.items():
        for error in errors[call]:
            for number in struck.places(call, count):
                done = struck.strike(call, f"error={error}", number)
                where = f"{error} at {call} {number}: exit {done.returncode}\n{done.stderr}"
                assert done.returncode in {0, 4} or "MS109" in done.stderr, where
                assert "Traceback" not in done.stderr, where
                assert "a bug in modelspec" not in done.stderr, where
                ends[done.returncode] += 1
                struck.require_right_build()
    return ends


def test_a_build_struck_at_a_few_calls(make_project: MakeProject) -> None:
    struck = Struck(make_project)
    assert kill(struck, {"rename": 1}) == 1
    assert sum(refuse(struck, {"fsync": 1}, {"fsync": ("EIO",)}).values()) == 1


@pytest.mark.faults
def test_a_build_killed_at_many_calls(make_project: MakeProject, tell: Tell) -> None:
    kills = kill(Struck(make_project), dict.fromkeys(KILLED_AT, 8))
    assert kills >= 50
    tell(f"{kills} builds killed at a system call: each time the next one was right")


@pytest.mark.faults
def test_a_build_refused_many_calls(make_project: MakeProject, tell: Tell) -> None:
    ends = refuse(Struck(make_project), dict.fromkeys(REFUSED_AT, 6), REFUSED_AT)
    assert sum(ends.values()) >= 50
    assert ends[0]
    tell(f"{sum(ends.values())} builds with a failed system call: {dict(ends)}, and the next one was right")
