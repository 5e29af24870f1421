"""Disks of every size, from almost nothing to enough, that hold the cache, temporary files and dist/."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from modelspec.errors import Exit, ModelspecError
from tests.build.conftest import Project, make_project, project
from tests.build.test_cache import tmpfs
from tests.conftest import Tell
from tests.faults.workbench import Bench, World, use_bench

__all__ = ["make_project", "project"]

STEP = 4096


def build(world: World, output: Path, temporary: Path) -> int:
    """The exit status of a build in a process of its own."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            use_bench()
            Bench.size = 16384
            os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
            world.build(output=output)
            status = 0
        except ModelspecError as error:
            codes = {problem.code for problem in error.diagnostics}
            status = int(error.exit) if codes <= {"MS403", "MS402"} else 98
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def sweep(tmp_path: Path, sizes: list[int]) -> dict[int, int]:
    """How often each exit status came up. An earlier dist/ lies on the disk, and survives each failure."""
    source, ends = World(tmp_path / "source"), {0: 0, 4: 0}
    source.make()
    good = World(tmp_path / "good")
    good.make()
    assert build(good, good.project / "dist", tmp_path) == 0
    right = good.published()
    for number, size in enumerate(sizes):
        place = tmp_path / f"disk{number}"
        with tmpfs(place, f"size={size}"):
            world = World(place)
            (place / "temporary").mkdir()
            try:
                subprocess.run(["cp", "-r", str(source.project), str(place)], check=True, stderr=subprocess.DEVNULL)
                old = place / "project" / "dist" / "tiny" / "1.0.0" / "old"
                old.parent.mkdir(parents=True)
                old.write_text("an earlier build")
            except (OSError, subprocess.CalledProcessError):
                continue  # not even the project fits
            status = build(world, world.project / "dist", place / "temporary")
            assert status in {Exit.OK, Exit.ENVIRONMENT}, f"{size} bytes: {status}"
            ends[status] += 1
            if status == Exit.OK:
                assert world.published() == right
            else:
                assert old.read_text() == "an earlier build"
                assert sorted(path.name for path in old.parent.parent.iterdir()) == ["1.0.0"]
            subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
            assert build(world, world.project / "dist", place / "temporary") == 0
            assert world.published() == right
    return ends


def test_disks_of_some_sizes(tmp_path: Path, tell: Tell) -> None:
    ends = sweep(tmp_path, [STEP * n for n in (12, 16, 20, 28, 40, 56, 72, 96, 128, 512)])
    assert ends[0]
    assert ends[4]
    tell(f"{sum(ends.values())} sizes of disk: {ends[0]} sufficed, {ends[4]} were told as full")


@pytest.mark.faults
def test_disks_of_all_sizes(tmp_path: Path, tell: Tell) -> None:
    ends = sweep(tmp_path, [STEP * n for n in range(8, 230)])
    assert sum(ends.values()) >= 200
    assert ends[4] >= 40
    tell(f"{sum(ends.values())} sizes of disk: {ends[0]} sufficed, {ends[4]} were told as full")


@pytest.mark.faults
@pytest.mark.parametrize("size", [256, 512, 768, 1024, 2048, 4096])
def test_whole_builds_on_small_disks(project: Project, tmp_path: Path, size: int) -> None:
    with tmpfs(tmp_path / "small", f"size={size}k") as small:
        (small / "tmp").mkdir()
        environment = {"MODELSPEC_CACHE_DIR": str(small / "cache"), "TMPDIR": str(small / "tmp")}
        done = project.run("build", "-o", str(small / "dist"), env=environment)
        assert done.returncode in {0, 4}, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert done.returncode or (small / "dist" / "tiny" / "1.0.0" / "checksums.txt").is_file()


LIMITS = ["-n 5", "-n 7", "-n 8", "-n 10", "-n 11", "-n 40", "-f 1", "-f 4", "-f 8", "-f 16"]
"""Few descriptors; small files only, in blocks of 1,024 bytes."""


@pytest.mark.parametrize(
    "limit", ["-n 9", "-f 2", *(pytest.param(limit, marks=pytest.mark.faults) for limit in LIMITS)]
)
def test_limits_of_the_shell_are_told_or_done_without(project: Project, limit: str) -> None:
    command = f"ulimit {limit}; exec {sys.executable} -m modelspec build"
    environment = {**os.environ, "MODELSPEC_CACHE_DIR": str(project.cache)}
    done = subprocess.run(["bash", "-c", command], cwd=project.folder, env=environment, capture_output=True, text=True)
    assert done.returncode in {0, 4}, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or "error[MS40" in done.stderr
    project.build("--until", "load")
