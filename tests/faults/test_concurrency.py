"""Many processes on one cache: each action runs once, a dead holder is succeeded, pruning takes nothing from under a build."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelspec import digest
from modelspec.store import gc
from modelspec.store.files import seal
from modelspec.store.record import Output, Record
from modelspec.store.store import BlobLostError, Store
from tests.build.conftest import Project, make_project, project
from tests.conftest import Tell
from tests.faults.test_kill import start

__all__ = ["make_project", "project"]

KEYS = 20


def ensure(cache: Path, name: str, ran: Path) -> Record:
    """What a build does for one action: look, lock, look again, make, commit; `ran` gets a line for each making."""
    store = Store(cache)
    preimage = {"stage": "convert", "name": name}
    key = digest.of_json(preimage)
    with store.session() as folder:
        while True:
            if found := store.find(key):
                return found
            lock = store.lock(key)
            if not lock.try_acquire():
                time.sleep(0.005)
                continue
            with lock:
                if found := store.find(key):
                    return found
                made = folder / name
                (made / "model").mkdir(parents=True)
                (made / "model" / "model.onnx").write_bytes(name.encode() * 100)
                descriptor = os.open(ran, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.write(descriptor, f"{name}\n".encode())
                os.close(descriptor)
                outputs = (Output("model/model.onnx", *seal(made / "model" / "model.onnx")),)
                record = Record(key, preimage, outputs, "exact", 0.0)
                store.commit(record, made)
                return record


def builder(cache: Path, ran: Path, number: int) -> None:
    for step in range(KEYS):
        ensure(cache, f"action-{(step + number) % KEYS}", ran)


def all_of(processes: list[multiprocessing.process.BaseProcess]) -> None:
    for process in processes:
        process.start()
    for process in processes:
        process.join(900)
        assert process.exitcode == 0


@pytest.mark.parametrize("builders", [8, pytest.param(32, marks=pytest.mark.faults)])
def test_each_action_runs_once(builders: int, tmp_path: Path, tell: Tell) -> None:
    fork = multiprocessing.get_context("fork")
    ran = tmp_path / "ran"
    all_of([fork.Process(target=builder, args=(tmp_path / "cache", ran, n)) for n in range(builders)])
    lines = ran.read_text().split()
    assert sorted(lines) == sorted({f"action-{n}" for n in range(KEYS)})
    assert not gc.verify(Store(tmp_path / "cache"), repair=False).defects
    tell(f"{builders} builders of {KEYS} actions: each ran once")


def test_the_holder_of_a_lock_that_is_killed_is_succeeded(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from modelspec.store.store import Store\n"
        "assert Store(Path(sys.argv[1])).lock('key').try_acquire(); print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "cache")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        lock = Store(tmp_path / "cache").lock("key")
        assert not lock.try_acquire()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        end = time.monotonic() + 1
        while not lock.try_acquire():
            assert time.monotonic() < end


def relying(cache: Path, ran: Path, number: int, rounds: int) -> None:
    """Make or find every result, then take its bytes: what a session has found may not go before it ends."""
    for round_ in range(rounds):
        store = Store(cache)
        with store.session() as folder:
            name = f"action-{(round_ + number) % KEYS}"
            ensure(cache, name, ran)
            record = store.find(digest.of_json({"stage": "convert", "name": name}))
            if record is None:
                continue  # it went between the two sessions
            time.sleep(0.002)
            try:
                store.take(record.outputs[0].sha256, folder / "copy")
            except BlobLostError:
                os._exit(3)


def pruner(cache: Path, stop: Path, dropped: Path) -> None:
    count = 0
    while not stop.exists():
        count += gc.prune(Store(cache), 0, None, dry_run=False).records
        assert not gc.verify(Store(cache), repair=False).defects
    dropped.write_text(str(count))


@pytest.mark.parametrize("rounds", [40, pytest.param(700, marks=pytest.mark.faults)])
def test_pruning_takes_nothing_from_under_a_build(rounds: int, tmp_path: Path, tell: Tell) -> None:
    fork = multiprocessing.get_context("fork")
    cache, stop, dropped = tmp_path / "cache", tmp_path / "stop", tmp_path / "dropped"
    Store(cache).open_session()
    sweeper = fork.Process(target=pruner, args=(cache, stop, dropped))
    sweeper.start()
    try:
        all_of([fork.Process(target=relying, args=(cache, tmp_path / "ran", n, rounds)) for n in range(8)])
    finally:
        stop.touch()
        sweeper.join(60)
    assert sweeper.exitcode == 0
    count = int(dropped.read_text())
    assert count
    tell(f"{8 * rounds} sessions against {count} prunings of a record: nothing was missed")


@pytest.mark.faults
def test_real_builds_at_once_with_pruning(project: Project) -> None:
    processes = [start(project) for _ in range(5)]
    while any(process.poll() is None for process in processes):
        gc.prune(Store(project.cache), 0, None, dry_run=False)
        time.sleep(0.05)
    for process in processes:
        out, err = process.communicate()
        assert process.returncode == 0, out + err
    project.build()
