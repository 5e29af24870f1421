"""Memory beyond --memory, or beyond what the machine has, is told as such, however it makes itself felt."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelspec.stages.benchmark import Benchmark
from modelspec.targets.cpu import Cpu
from tests.build.conftest import Project
from tests.conftest import RunStage
from tests.execute.conftest import WithLoader, log_of, put_loader


@pytest.mark.parametrize(
    ("greedy", "said"),
    [
        ("import numpy\nnumpy.ones(1 << 33)", "data.py:5: MemoryError: Unable to allocate 64.0 GiB"),
        ("held = bytearray(1 << 34)", "data.py:4: MemoryError"),
        ("held = []\nwhile True: held.append('a' * 99999 + str(len(held)))", "data.py:5: MemoryError"),
        ("import torch\ntorch.ones(1 << 33)", "data.py:5: RuntimeError: [enforce fail at alloc_cpu.cpp"),
    ],
)
def test_memory_beyond_the_limit_is_told_with_the_limit_and_the_peak(
    with_loader: WithLoader, greedy: str, said: str
) -> None:
    shown = with_loader(greedy).build("--memory", "2GB", exits=4)
    assert f"error[MS406]: load:test: the worker ran out of memory: {said}" in shown
    assert "= why: it held " in shown
    assert "; --memory allows 2.0 GB" in shown
    assert "= help: raise --memory, or use smaller data" in shown
    assert "Error" in log_of(shown)


@pytest.mark.parametrize("limit", ["20MB", "60MB", "90MB", "100MB", "110MB"])
def test_a_limit_in_which_nothing_can_run_is_told_as_one(project: Project, limit: str) -> None:
    """The report needs memory too; ONNX Runtime says std::bad_alloc, and the C library ends the process with 127."""
    said = project.build("--memory", limit, exits=4)
    assert "error[MS406]" in said
    assert said.count("error[") == said.count("error[MS406]")


def test_a_library_that_aborts_for_lack_of_memory_is_told_as_such(with_loader: WithLoader) -> None:
    """An exception of C++ that nobody catches, as where a thread of a library allocates."""
    said = with_loader("import ctypes\nctypes.CDLL('libstdc++.so.6')._ZSt17__throw_bad_allocv()").build(exits=4)
    assert "error[MS406]: load:test: the worker ran out of memory, and a library gave up" in said
    assert "std::bad_alloc" in log_of(said)


def test_the_limit_holds_for_processes_of_an_action(project: Project) -> None:
    project.spec.write_text(project.spec.read_text() + "benchmark: {batch: 10000000}\n")
    said = project.build("--memory", "400MB", exits=4)
    assert "error[MS406]: benchmark@cpu-int8: the worker ran out of memory: the benchmark failed: numpy." in said
    assert "--memory allows 400.0 MB" in said


def test_the_limit_is_no_input(project: Project) -> None:
    project.build("--memory", "3GB")
    assert "nothing to do" in project.build("--memory", "4GB")
    assert "MS325" in project.build("--memory", "3", exits=2)
    assert "MS325" in project.build("--memory", "3s", exits=2)


Confined = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def confined() -> Iterator[Confined]:
    """Run a build in a control group of 400 MB, in which the kernel ends processes."""
    for root, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = root / f"modelspec-test-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(400_000_000))
        except OSError:
            continue
        break
    else:
        pytest.skip("no control group with a limit of memory can be made here")

    def run(project: Project) -> "subprocess.CompletedProcess[str]":
        enter = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])"
        command = [sys.executable, "-c", enter, str(group / "cgroup.procs"), sys.executable, "-m", "modelspec", "build"]
        environment = {**os.environ, "MODELSPEC_CACHE_DIR": str(project.cache)}
        return subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True, timeout=120)

    yield run
    group.rmdir()


def test_a_worker_that_the_kernel_ends_for_want_of_memory(confined: Confined, with_loader: WithLoader) -> None:
    done = confined(with_loader("held = []\nwhile True: held.append(bytearray(b'a' * 10_000_000))"))
    assert done.returncode == 4, done.stderr
    assert "error[MS406]: load:test: the kernel ended the worker, because memory ran out" in done.stderr
    assert "= why: it held 3" in done.stderr
    assert log_of(done.stderr) == ""


def test_a_process_of_a_worker_that_the_kernel_ends_for_want_of_memory(confined: Confined, project: Project) -> None:
    project.spec.write_text(project.spec.read_text() + "benchmark: {batch: 10000000}\n")
    done = confined(project)
    assert done.returncode == 4, done.stderr
    assert "error[MS406]: benchmark@cpu-int8: the kernel ended the worker" in done.stderr


def test_a_failure_beside_which_the_kernel_ended_a_process_says_so(confined: Confined, project: Project) -> None:
    greedy = "x = []\nwhile True: x.append(bytearray(b'a' * 10_000_000))"
    body = f"import subprocess\nsubprocess.run([sys.executable, '-c', {greedy!r}], check=True)"
    done = confined(put_loader(project, body))
    assert done.returncode == 3, done.stderr
    assert "error[MS517]: load:test: data.py:5: CalledProcessError" in done.stderr
    assert "= why: meanwhile the kernel ended a process of this machine, because memory ran out" in done.stderr


def test_the_benchmark_measures_the_model_and_not_the_worker(run_stage: RunStage, project: Project) -> None:
    """A program starts with the peak of the process that started it, as getrusage(2) has it."""
    project.build()
    folder = project.dist / "cpu-fp32"
    for name in ("artifact", "samples", "signature"):
        (project.folder / name).mkdir()
    shutil.copy(folder / "model.onnx", project.folder / "artifact")
    shutil.copy(folder / "golden" / "inputs.npz", project.folder / "samples")
    shutil.copy(folder / "signature.json", project.folder / "signature")
    slots = {name: project.folder / name for name in ("artifact", "samples", "signature")}
    ballast = bytearray(b"a" * 500_000_000)
    job = run_stage(Benchmark(repeats=10), slots, target=Cpu(device="cpu"))
    assert ballast
    import json

    figures = json.loads((job.output("metrics") / "benchmark.json").read_text())
    assert 10_000_000 < figures["metrics"]["peak_memory"] < 300_000_000
