"""What an action may use and reach, and what is left of it when it ends; told by loaders that try."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelspec.platform_linux import network_can_be_left
from tests.build.conftest import MakeProject, Project, make_project, project

__all__ = ["make_project", "project"]


def with_loader(project: Project, body: str) -> Project:
    """The project with a loader of that body instead of the test set's file."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (project.folder / "data.py").write_text(f"import os, sys, time\n\ndef load():\n{lines}")
    project.edit("test: {path: test.npz, labels: y}", 'test: {loader: "data.py:load", labels: y}')
    return project


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def ended(pid: int, deadline_s: float = 30.0) -> bool:
    end = time.monotonic() + deadline_s
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not is_alive(pid)


@pytest.mark.parametrize(
    "greedy",
    [
        "import numpy\nnumpy.ones(1 << 33)",
        "held = bytearray(1 << 34)",
        "import torch\ntorch.ones(1 << 33)",
        "import subprocess\nsubprocess.run([sys.executable, '-c', 'x = bytearray(1 << 34)'], check=True, stderr=2)",
    ],
)
def test_memory_beyond_the_limit_is_a_clean_failure(project: Project, greedy: str) -> None:
    with_loader(project, greedy)
    said = project.build("--memory", "2GB", exits=3 if "subprocess" in greedy else 4)
    assert "log of load:test: " in said
    if "subprocess" not in greedy:
        assert "error[MS406]: load:test: the worker ran out of memory; it held " in said
        assert "--memory allows 2.0 GB" in said


def test_the_limit_is_no_input(project: Project) -> None:
    project.build("--memory", "3GB")
    assert "nothing to do" in project.build("--memory", "4GB")
    assert "MS325" in project.build("--memory", "3", exits=2)
    assert "MS325" in project.build("--memory", "3s", exits=2)


def test_onnx_runtime_that_gets_no_memory_is_told_as_such(project: Project) -> None:
    """It says std::bad_alloc, which would otherwise read as a fault of the model."""
    said = project.build("--memory", "100MB", exits=4)
    assert "MS406" in said or "MS405" in said


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("os._exit(3)", "the worker ended with 3"),
        ("os._exit(0)", "the worker ended with 0"),
        ("sys.exit(3)", "the worker ended with 1"),
        ("os.abort()", "the worker was ended by signal 6"),
        ("import ctypes\nctypes.string_at(0)", "the worker was ended by signal 11"),
        ("os.kill(os.getpid(), 9)", "signal 9; it held "),
    ],
)
def test_a_worker_that_dies_is_a_clean_failure_with_its_log(project: Project, body: str, said: str) -> None:
    shown = with_loader(project, f"print('last words', flush=True)\n{body}").build(exits=4)
    assert f"error[MS405]: load:test: {said if said.startswith('the') else 'the worker was ended by ' + said}" in shown
    log = Path(shown.split("log of load:test: ")[1].splitlines()[0])
    assert "last words" in log.read_text()


def test_endless_recursion_is_a_clean_failure(project: Project) -> None:
    with_loader(project, "def deeper():\n    deeper()\ndeeper()")
    assert "RecursionError" in project.build(exits=3)


DAEMON = """\
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open({pid!r}, "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
while not os.path.exists({pid!r}):
    time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("ending", "exits"),
    [
        ("import numpy\nreturn dict(numpy.load({data!r}))", 0),
        ("raise ValueError('no')", 3),
        ("os.kill(os.getpid(), 9)", 4),
        ("time.sleep(600)", 3),
    ],
)
def test_nothing_that_an_action_started_outlives_it(project: Project, ending: str, exits: int, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    body = DAEMON.format(pid=str(pid)) + ending.format(data=str(project.folder / "test.npz"))
    with_loader(project, body).build("--timeout", "20", exits=exits)
    assert ended(int(pid.read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_a_build_that_is_ended(project: Project, number: signal.Signals, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with_loader(project, DAEMON.format(pid=str(pid)) + "time.sleep(600)")
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


NETWORK = network_can_be_left()
isolated = pytest.mark.skipif(bool(NETWORK), reason=f"the network cannot be left here: {NETWORK}")


@isolated
def test_actions_have_no_network(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with_loader(project, f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=5)")
        said = project.build(exits=3)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert "error[MS517]: load:test: data.py:5: OSError: [Errno 101] Network is unreachable" in said
    assert "actions have no network" in said


@isolated
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_can_leave_the_network_too() -> None:
    script = (
        "import os, socket\nfrom modelspec.platform_linux import leave_network\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "print(repr(leave_network()), os.getuid(), os.getgid(), [name for _, name in socket.if_nameindex()])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "'' 65534 65534 ['lo']\n", done.stderr


def test_a_kernel_that_keeps_the_network_is_said_once(make_project: MakeProject) -> None:
    """As in a container without namespaces: the call is refused by a seccomp filter that children inherit."""
    project = make_project()
    done = subprocess.run(
        [sys.executable, "-c", REFUSING, "build"],
        cwd=project.folder,
        env={**os.environ, "MODELSPEC_CACHE_DIR": str(project.cache)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("warning[MS453]") == 1
    assert "actions keep the network here: " in done.stderr


REFUSING = """\
import ctypes, platform, struct
libc = ctypes.CDLL(None, use_errno=True)
number = {"x86_64": 272, "aarch64": 97}[platform.machine()]  # unshare
code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
text = b"".join(struct.pack("HBBI", *line) for line in code)
buffer = ctypes.create_string_buffer(text)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer)))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
from modelspec.cli import main
main()
"""


def test_the_environment_is_an_allow_list(project: Project) -> None:
    with_loader(project, "raise ValueError(repr(sorted(os.environ.items())))")
    planted = {"SECRET_TOKEN": "hunter2", "PYTHONSTARTUP": "/x", "PYTHONINSPECT": "", "AWS_SECRET_ACCESS_KEY": "k"}
    said = project.build(exits=3, env=planted)
    assert "ValueError" in said
    assert not any(name in said for name in planted)
    assert f"('HOME', '{Path.home()}')" not in said


def test_a_loader_that_removes_its_own_folder_is_a_clean_failure(project: Project) -> None:
    with_loader(project, "import shutil\nshutil.rmtree(os.getcwd())")
    said = project.build(exits=4)
    assert "error[MS405]" in said
