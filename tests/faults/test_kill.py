"""Builds that are killed, interrupted or raced: the next one gives the right result with nothing to clean by hand."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.build.conftest import MakeProject, Project, make_project, project
from tests.conftest import Tell

__all__ = ["make_project", "project"]


def start(project: Project, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "modelspec", "build", *arguments]
    environment = {**os.environ, "MODELSPEC_CACHE_DIR": str(project.cache)}
    return subprocess.Popen(
        command, cwd=project.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def servers(cache: Path) -> list[int]:
    """Processes that work in this cache."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str((path / "cwd").readlink()).startswith(str(cache)):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def gone(cache: Path, deadline_s: float = 30.0) -> bool:
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if not servers(cache):
            return True
        time.sleep(0.05)
    return False


def kill_at_random(make_project: MakeProject, rounds: int) -> int:
    """Kill builds at any moment; one that comes to its end is the next to be compared, and the start of another."""
    reference = make_project("reference", "cache-reference")
    began = time.monotonic()
    reference.build()
    length = time.monotonic() - began
    project = make_project("killed", "cache-killed")
    generator, killed = random.Random(0), 0

    def require_right() -> None:
        project.build()
        assert project.tree()["checksums.txt"] == reference.tree()["checksums.txt"]
        assert not list(project.dist.parent.glob(".*"))

    for _ in range(rounds):
        process = start(project)
        try:
            process.communicate(timeout=generator.uniform(0.1, length))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
        else:
            require_right()
            shutil.rmtree(project.cache)
            shutil.rmtree(project.folder / "dist")
        assert gone(project.cache), "a worker outlived its build"
    require_right()
    return killed


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [5, pytest.param(100, marks=pytest.mark.faults)])
def test_sigkill_at_random_moments_then_a_right_build(make_project: MakeProject, rounds: int, tell: Tell) -> None:
    killed = kill_at_random(make_project, rounds)
    assert killed
    tell(f"{killed} builds killed at random moments: the next ones were right")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build_stops_cleanly_and_keeps_what_is_finished(
    project: Project, number: signal.Signals, status: int
) -> None:
    process = start(project)
    end = time.monotonic() + 60
    while not list((project.cache / "v1" / "ac").glob("*/*.json")) and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert process.returncode == status, out + err
    assert "Traceback" not in out + err
    assert gone(project.cache)
    assert not project.dist.exists()
    assert not list((project.cache / "v1" / "tmp").iterdir())
    assert "(0 ran" not in project.build()


@pytest.mark.slow
@pytest.mark.parametrize("builds", [2, pytest.param(6, marks=pytest.mark.faults)])
def test_builds_at_once_run_each_action_once(project: Project, builds: int) -> None:
    processes = [start(project) for _ in range(builds)]
    texts = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
        texts.append(err)
    done = [line.split()[0] for text in texts for line in text.splitlines() if " done " in line]
    assert len(done) == len(set(done)) > 0


def test_an_input_that_changes_during_the_build_fails_it(project: Project) -> None:
    from modelspec.build import Asked, prepare
    from modelspec.errors import ModelspecError
    from modelspec.execute.scratch import prepare as prepare_scratch

    prepared = prepare(Asked(project.spec, project.cache))
    (project.folder / "model.onnx").write_bytes(b"other")
    match = next(m for m in prepared.matches.values() if m.action.stage.name == "convert")
    records = {id_: m.record for id_, m in prepared.matches.items() if m.record}
    with pytest.raises((ModelspecError, KeyError)) as caught:
        prepare_scratch(match, records, prepared.store)
    assert "MS601" in str(caught.value) or isinstance(caught.value, KeyError)


def test_a_worker_that_takes_too_long_is_ended(project: Project) -> None:
    (project.folder / "data.py").write_text("import time\ndef load():\n    time.sleep(60)\n")
    project.edit("test: {path: test.npz, labels: y}", 'test: {loader: "data.py:load", labels: y}')
    began = time.monotonic()
    assert "MS520" in project.build("--timeout", "2", exits=3)
    assert time.monotonic() - began < 30
    assert gone(project.cache)


def test_a_worker_that_is_killed_is_a_clean_failure(project: Project) -> None:
    (project.folder / "data.py").write_text("import os\ndef load():\n    os.kill(os.getpid(), 9)\n")
    project.edit("test: {path: test.npz, labels: y}", 'test: {loader: "data.py:load", labels: y}')
    said = project.build(exits=4)
    assert "MS405" in said
    assert "signal 9" in said
