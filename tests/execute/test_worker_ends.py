"""How an action ends, and what is left of it: a code, a log, and no process; told by loaders that try."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelspec.execute import pool as pools
from modelspec.execute.pool import Pool
from tests.build.conftest import Project
from tests.execute.conftest import WithLoader, ended, log_of, put_loader, returning


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("os._exit(3)", "the worker ended with 3 before it could say why"),
        ("os._exit(0)", "the worker ended with 0 before it could say why"),
        ("os.abort()", "the worker was ended by signal 6 at data.py:5"),
        ("import ctypes; ctypes.string_at(0)", "the worker was ended by signal 11 at data.py:5"),
        (
            "x = []; sys.setrecursionlimit(10**9)\nfor _ in range(10**6): x = [x]\nrepr(x)",
            "the worker was ended by signal 11 at data.py:7",
        ),
        ("os.kill(os.getpid(), 9)", "the worker was ended by signal 9"),
        ("os.kill(0, 9)", "the worker was ended by signal 9"),
    ],
)
def test_a_worker_that_dies_is_a_clean_failure_with_its_log(with_loader: WithLoader, body: str, said: str) -> None:
    shown = with_loader(f"print('last words', flush=True)\n{body}").build(exits=4)
    assert f"error[MS405]: load:test: {said}\n" in shown
    assert "= why: it held " in shown
    assert "last words" in log_of(shown)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def deeper():\n    deeper()\ndeeper()", "data.py:5: RecursionError: maximum recursion depth exceeded"),
        ("sys.exit(3)", "data.py:4: SystemExit: 3"),
        ("sys.stderr.close()\nsys.stdout = None\nraise ValueError('no')", "data.py:6: ValueError: no"),
    ],
)
def test_user_code_that_gives_up_is_told_with_its_line(with_loader: WithLoader, body: str, said: str) -> None:
    shown = with_loader(body).build(exits=3)
    assert f"error[MS517]: load:test: {said}" in shown
    assert "Traceback" in log_of(shown)


@pytest.mark.parametrize(
    "change",
    [
        "sys.stdout.close()",
        "sys.stdout = sys.stderr = None",
        "os.close(1)",
        "os.dup2(os.open('/dev/full', os.O_WRONLY), 1)\nprint('x' * 100)",
    ],
)
def test_what_user_code_does_to_the_streams_is_its_own_business(
    with_loader: WithLoader, project: Project, change: str
) -> None:
    with_loader(f"{change}\n{returning(project)}").build()


def test_a_worker_that_dies_after_its_result_has_failed(with_loader: WithLoader, project: Project) -> None:
    last = "os._exit = lambda status: os.kill(os.getpid(), signal.SIGSEGV)"
    assert "error[MS405]: load:test: the worker was ended by signal 11" in with_loader(
        f"{last}\n{returning(project)}"
    ).build(exits=4)


def test_a_worker_whose_folder_is_gone_is_a_clean_failure(with_loader: WithLoader) -> None:
    said = with_loader("import shutil\nshutil.rmtree(os.getcwd())\nraise ValueError('no')").build(exits=4)
    assert "error[MS405]: load:test: the worker ended with 1 before it could say why" in said
    assert "log of" not in said


def test_a_signal_to_the_group_of_one_action_reaches_no_other(project: Project) -> None:
    put_loader(project, "time.sleep(1)\nos.kill(0, 9)")
    put_loader(project, f"time.sleep(2)\n{returning(project, 'calibration')}", "calibration", "other")
    said = project.build("-j", "2", "--keep-going", exits=4)
    assert said.count("error[") == 1
    assert re.search("load:calibration +done", said)


def test_actions_after_the_death_of_the_server_get_another(project: Project) -> None:
    put_loader(project, "os.kill(os.getppid(), 9)\ntime.sleep(60)")
    said = project.build("-j", "1", "--keep-going", exits=4)
    assert "error[MS405]: load:test: the server of the workers was ended by signal 9" in said
    assert re.search("load:calibration +done", said)
    assert said.count("error[") == 1


@pytest.mark.parametrize(
    ("module", "code", "said"),
    [
        ("raise OSError('libgomp.so.9: cannot open shared object file')", "MS501", "OSError: libgomp.so.9"),
        ("import ctypes; ctypes.string_at(0)", "MS405", "the server of the workers was ended by signal 11"),
    ],
)
def test_a_library_that_cannot_be_loaded_is_told_by_the_action_that_needs_it(
    project: Project, tmp_path: Path, module: str, code: str, said: str
) -> None:
    (tmp_path / "broken" / "onnx").mkdir(parents=True)
    (tmp_path / "broken" / "onnx" / "__init__.py").write_text(module)
    path = os.pathsep.join(filter(None, (str(tmp_path / "broken"), os.environ.get("PYTHONPATH"))))
    shown = project.build(exits=3 if code == "MS501" else 4, env={"PYTHONPATH": path})
    assert f"error[{code}]: " in shown
    assert said in shown
    assert "onnx/__init__.py" in log_of(shown, "")


def test_a_server_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_KILLING_S", 1)
    monkeypatch.setattr(pools, "_ENDING_S", 1)
    pool = Pool(tmp_path)
    (tmp_path / "job").mkdir()
    (tmp_path / "slow.py").write_text("")
    pool.run("a", tmp_path / "job", ())
    assert [done.id for done in pool.done(20)] == ["a"]
    assert pool._server is not None
    os.kill(pool._server.pid, signal.SIGSTOP)
    pool.run("b", tmp_path / "job", ())
    pool.kill("b")
    end = time.monotonic() + 20
    while not (found := pool.done(0.2)) and time.monotonic() < end:
        pass
    assert [(done.id, done.status, done.with_server) for done in found] == [("b", signal.SIGKILL, True)]


DAEMON = """\
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.setsid()
    if os.fork() == 0:
        open({pid!r}, "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
while not (os.path.exists({pid!r}) and os.path.getsize({pid!r})):
    time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("ending", "exits"),
    [("", 0), ("raise ValueError('no')", 3), ("os.kill(os.getpid(), 9)", 4), ("time.sleep(600)", 3)],
)
def test_nothing_that_an_action_started_outlives_it(project: Project, ending: str, exits: int, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    put_loader(project, DAEMON.format(pid=str(pid)) + (ending or returning(project)))
    project.build("--timeout", "10", exits=exits)
    assert ended(int(pid.read_text()))


def test_what_an_action_started_is_left_alone_when_another_ends(project: Project, tmp_path: Path) -> None:
    """Both are below one server, which a process whose parent is gone could come to."""
    pid, other = tmp_path / "pid", tmp_path / "other"
    waiting = (
        f"while not os.path.exists({str(other)!r}): time.sleep(0.01)\n"
        "time.sleep(1)\n"
        f"assert ') S ' in open('/proc/' + open({str(pid)!r}).read() + '/stat').read()\n"
    )
    put_loader(project, DAEMON.format(pid=str(pid)) + waiting + returning(project))
    first = f"while not os.path.exists({str(pid)!r}): time.sleep(0.01)\nopen({str(other)!r}, 'w').close()\n"
    put_loader(project, first + returning(project, "calibration"), "calibration", "other")
    project.build("-j", "2")
    assert ended(int(pid.read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_outlives_a_build_that_is_ended(project: Project, number: signal.Signals, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    put_loader(project, DAEMON.format(pid=str(pid)) + "time.sleep(600)")
    process = subprocess.Popen(
        [sys.executable, "-m", "modelspec", "build"],
        cwd=project.folder,
        env={**os.environ, "MODELSPEC_CACHE_DIR": str(project.cache)},
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 60
    while not (pid.exists() and pid.read_text()) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(number)
    process.wait(20)
    assert ended(int(pid.read_text()))
