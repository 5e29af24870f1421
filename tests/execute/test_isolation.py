"""What an action can reach: no network where the kernel allows it, and of the environment only what is on the list."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import modelspec
from modelspec.platform_linux import network_can_be_left
from tests.build.conftest import Project
from tests.execute.conftest import WithLoader, put_loader, returning

NETWORK = network_can_be_left()
isolated = pytest.mark.skipif(bool(NETWORK), reason=f"the network cannot be left here: {NETWORK}")
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")

CONNECT = "import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=5)"


@isolated
def test_actions_have_no_network(with_loader: WithLoader) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        said = with_loader(CONNECT.format(port=server.getsockname()[1])).build(exits=3)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert "error[MS517]: load:test: data.py:5: OSError: [Errno 101] Network is unreachable" in said
    assert "= help: actions have no network: put the file into the project, and name it in the spec" in said


@pytest.mark.parametrize(
    "fetch",
    [
        "from urllib.request import urlopen\nurlopen('https://model.invalid/weights')",
        "import socket\nsocket.create_connection(('::1', 80))",
        "from huggingface_hub import hf_hub_download\nhf_hub_download('no/model', 'weights')",
        "from transformers import AutoModel\nAutoModel.from_pretrained('no/model')",
    ],
)
@isolated
def test_code_that_downloads_is_told_that_it_cannot(with_loader: WithLoader, fetch: str) -> None:
    said = with_loader(fetch).build(exits=3)
    assert "error[MS517]: load:test: data.py:5: " in said
    assert "= help: actions have no network" in said


def test_a_stage_that_says_so_keeps_the_network(project: Project, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    for name in ("modelspec", "schemas", "templates"):
        shutil.copytree(Path(modelspec.__file__).parents[1] / name, copied / name)
    load = copied / "modelspec" / "stages" / "load.py"
    text = load.read_text()
    assert text.count("    provides: ClassVar") == 1
    load.write_text(
        text.replace("    provides: ClassVar", "    network: ClassVar[bool] = True\n    provides: ClassVar")
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        own = "assert os.environ['HTTPS_PROXY'] == 'one' and 'PYTHONSTARTUP' not in os.environ"
        put_loader(project, f"{CONNECT.format(port=server.getsockname()[1])}\n{own}\n{returning(project)}")
        project.build(env={"PYTHONPATH": str(copied), "HTTPS_PROXY": "one", "PYTHONSTARTUP": "two"})
        server.settimeout(5)
        server.accept()[0].close()


def run_as_user(script: str, *prefix: str) -> str:
    """What a Python program prints that has become an ordinary user, as which modelspec is not installed here."""
    become = "import os, socket\nfrom modelspec.platform_linux import leave_network, die_with_parent\n"
    become += "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    done = subprocess.run([*prefix, sys.executable, "-c", become + script], capture_output=True, text=True)
    return done.stdout or done.stderr


@isolated
@as_root
def test_an_ordinary_user_can_leave_the_network_too() -> None:
    shown = "print(repr(leave_network()), os.getuid(), os.getgid(), [name for _, name in socket.if_nameindex()])"
    assert run_as_user(shown) == "'' 65534 65534 ['lo']\n"


@isolated
@as_root
def test_a_process_that_has_left_the_network_still_dies_with_its_parent() -> None:
    script = """
import ctypes
die_with_parent(15, os.getppid())
found = ctypes.c_int()
print(repr(leave_network()), ctypes.CDLL(None).prctl(2, ctypes.byref(found), 0, 0, 0), found.value)
"""
    assert run_as_user(script) == "'' 0 15\n"


@isolated
@as_root
def test_a_system_that_keeps_the_ids_of_users_to_itself_is_no_hindrance() -> None:
    """As AppArmor's rules for user namespaces, or a /proc that is read-only: the ids cannot be written down."""
    prefix = ("unshare", "--mount", "sh", "-c", 'mount -o remount,bind,ro /proc && exec "$0" "$@"')
    if subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("/proc cannot be made read-only here")
    shown = (
        "print(repr(leave_network()), [name for _, name in socket.if_nameindex()])\n"
        "open('/dev/shm/modelspec-test', 'w').close(); os.unlink('/dev/shm/modelspec-test')"
    )
    assert run_as_user(shown, *prefix) == "'' ['lo']\n"


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
"""As in a container without namespaces: the call is refused by a seccomp filter that children inherit."""


def run_refused(project: Project, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", REFUSING, *arguments]
    environment = {**os.environ, "MODELSPEC_CACHE_DIR": str(project.cache)}
    return subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True)


def test_a_kernel_that_keeps_the_network_is_said_once(project: Project) -> None:
    done = run_refused(project, "build")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("warning[MS453]") == 1
    assert "actions keep the network here: " in done.stderr
    assert "MS453" not in run_refused(project, "build").stderr  # nothing ran


def test_a_kernel_that_keeps_the_network_is_said_beside_a_failure(with_loader: WithLoader) -> None:
    done = run_refused(with_loader("raise ValueError('no')"), "build")
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stderr.count("warning[MS453]") == 1


@isolated
@as_root
def test_a_limit_of_namespaces_does_not_read_as_a_full_disk() -> None:
    """A user namespace has limits of its own, so that the machine's stay as they are."""
    limited = 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$0" "$@"'
    prefix = ("unshare", "--user", "--map-root-user", "sh", "-c", limited)
    if subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("no user namespace can be made here")
    script = "from modelspec.platform_linux import leave_network; print(leave_network())"
    done = subprocess.run([*prefix, sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "no network namespace: the limit of namespaces is reached\n", done.stderr


def test_doctor_says_whether_actions_keep_the_network(project: Project) -> None:
    assert "  network  actions keep it: " in run_refused(project, "doctor").stdout
    if not NETWORK:
        assert "  network  actions have none\n" in project.run("doctor").stdout


def test_the_environment_is_an_allow_list(with_loader: WithLoader, project: Project, tmp_path: Path) -> None:
    seen = tmp_path / "seen.json"
    body = (
        "import json, tempfile, pathlib\n"
        "own = open('/proc/self/environ').read() + open(f'/proc/{os.getppid()}/environ').read()\n"
        "places = [os.getcwd(), str(pathlib.Path.home()), tempfile.gettempdir()]\n"
        f"json.dump([dict(os.environ), own, places, sys.path], open({str(seen)!r}, 'w'))\n"
    )
    planted = {
        "SECRET_TOKEN": "hunter2",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "HTTPS_PROXY": "http://hunter2",
        "PYTHONSTARTUP": "/hunter2",
        "PYTHONWARNINGS": "ignore::DeprecationWarning",
        "LD_PRELOAD": "libhunter2.so",
        "PYTHONPATH": os.pathsep.join(filter(None, ("/hunter", os.environ.get("PYTHONPATH")))),
    }
    with_loader(body + returning(project)).build(env=planted)
    environment, own, places, path = json.loads(seen.read_text())
    assert "hunter2" not in json.dumps([environment, own])
    assert not {"PYTHONSTARTUP", "PYTHONWARNINGS", "LD_PRELOAD"} & {*environment, *own.split("\0")}
    assert "/hunter" in path
    for place in places:
        assert Path(place).is_relative_to(project.cache / "v1" / "tmp")
    assert len(set(places)) == 3
