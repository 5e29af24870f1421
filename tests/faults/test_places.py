"""Odd names, missing homes and crowded caches: a build works there, or says what is missing."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from modelspec.store.store import Store
from tests.build.conftest import MakeProject, Project, make_project, project

__all__ = ["make_project", "project"]

NAMES = [
    "-with a space",
    "quo'te\"s",
    "$(touch canary)",
    "new\nline",
    "ünïcödé",
    "{{ 7 * 7 }}",
    "%s;&|",
    "-leading",
]


@pytest.mark.parametrize(
    "name", ["".join(NAMES[:-1]), "a" * 200, *(pytest.param(name, marks=pytest.mark.faults) for name in NAMES)]
)
def test_a_project_and_a_cache_of_that_name(make_project: MakeProject, name: str, tmp_path: Path) -> None:
    project = make_project(f"{name}/project", f"{name}/cache")
    project.build("--until", "convert")
    assert not list(tmp_path.rglob("canary"))
    assert project.run("plan").returncode == 0


def test_a_name_that_is_no_text(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project()
    odd = os.fsencode(tmp_path) + b"/odd-\xff\xfe"
    os.rename(project.folder, odd)  # noqa: PTH104 - a Path holds text
    environment = {**os.environ, "MODELSPEC_CACHE_DIR": str(project.cache)}
    command = [sys.executable, "-m", "modelspec", "build", "--until", "convert"]
    done = subprocess.run(command, cwd=odd, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr


def without_cache_variable(project: Project, **variables: str) -> "subprocess.CompletedProcess[str]":
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"HOME", "MODELSPEC_CACHE_DIR", "XDG_CACHE_HOME"}
    }
    command = [sys.executable, "-m", "modelspec", "build", "--until", "load"]
    return subprocess.run(command, cwd=project.folder, env={**kept, **variables}, capture_output=True, text=True)


def test_a_home_that_cannot_be_written_to(project: Project) -> None:
    done = without_cache_variable(project, HOME="/proc")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning[MS451]") == 1


NAMELESS = """\
import os, sys
from pathlib import Path
from modelspec.execute.pool import environment
from modelspec.resources import folder
from tests.faults.workbench import World, use_bench
use_bench()
warm, world = World(Path(sys.argv[1], "warm")), World(Path(sys.argv[1], "world"))
warm.make()
warm.build()  # whatever is imported late is imported now: that user may be unable to read the interpreter
world.make()
for path in (world.root, *world.root.rglob("*")):
    os.chown(path, 54321, 54321)
os.environ.pop("HOME", None)
os.setgroups([])
os.setgid(54321)
os.setuid(54321)
if not all(os.access(path, os.R_OK | os.X_OK) for path in (folder("templates"), world.root)):
    sys.exit("unreadable")
environment(Path("/home"))
world.build()
assert world.published() == warm.published()
assert not world.debris()
print("built")
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user that is not there")
def test_a_user_without_a_name_and_a_home() -> None:
    with tempfile.TemporaryDirectory() as place:  # tmp_path is for its owner alone
        Path(place).chmod(0o711)
        done = subprocess.run([sys.executable, "-c", NAMELESS, place], capture_output=True, text=True)
    if done.stderr == "unreadable\n":
        pytest.skip("the checkout or the temporary folder lies where other users cannot read")
    assert done.stdout == "built\n", done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user that is not there")
def test_such_a_user_is_told_to_choose_a_cache() -> None:
    script = (
        "import os\nfrom modelspec.errors import ModelspecError\nimport modelspec.store.store as s, platformdirs\n"
        "import pwd\nos.environ.pop('HOME', None)\nos.setgid(54321); os.setuid(54321)\n"
        "try:\n    print(s.default_folder())\nexcept ModelspecError as error:\n    print(error)"
    )
    kept = {name: value for name, value in os.environ.items() if name not in {"MODELSPEC_CACHE_DIR", "XDG_CACHE_HOME"}}
    done = subprocess.run([sys.executable, "-c", script], env=kept, capture_output=True, text=True)
    assert "MS402 this user has no home folder for the cache" in done.stdout, done.stderr


def crowd(root: Path, count: int) -> None:
    """Names that are no digests, no keys and no sessions, in every folder."""
    folders = [root / "tmp", root / "cas" / "sha256", root / "ac", root / "ac" / "ab", root / "locks", root / "latest"]
    for number in range(count):
        folder = folders[number % len(folders)]
        folder.mkdir(exist_ok=True)
        os.close(os.open(folder / f"junk-{number}", os.O_CREAT | os.O_WRONLY))


@pytest.mark.parametrize("count", [12_000, pytest.param(100_000, marks=pytest.mark.faults)])
def test_a_cache_full_of_junk_works_and_starts_quickly(project: Project, count: int) -> None:
    project.build("--until", "load")
    store = Store(project.cache)
    crowd(store.root, count)
    began = time.process_time()
    with store.session():
        pass
    assert time.process_time() - began < 1
    assert "0 to run" in project.run("plan", "--until", "load").stdout
    assert project.run("cache", "prune", "--max-size", "1GB").returncode == 0
    assert project.run("cache", "verify").returncode == 0
