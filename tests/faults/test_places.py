"""Odd names, missing homes and crowded caches: a build works there, or says what is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelspec.store.store import Store
from tests.build.conftest import MakeProject, Project, make_project, project

__all__ = ["make_project", "project"]

NAMES = [
    "with a space",
    "quo'te\"s",
    "$(touch canary)",
    "new\nline",
    "-leading",
    "ünïcödé",
    "a" * 200,
    "{{ 7 * 7 }}",
    "%s;&|",
]


@pytest.mark.parametrize("name", NAMES)
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


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user that is not there")
def test_a_user_without_a_name_and_a_home(tmp_path: Path) -> None:
    """In a process that becomes that user, since such a user may be unable to read the interpreter."""
    script = (
        "import os\nfrom modelspec.errors import ModelspecError\nimport modelspec.store.store as s, platformdirs\n"
        "import pwd\nos.environ.pop('HOME', None)\nos.setgid(54321); os.setuid(54321)\n"
        "try:\n    print(s.default_folder())\nexcept ModelspecError as error:\n    print(error)"
    )
    kept = {name: value for name, value in os.environ.items() if name not in {"MODELSPEC_CACHE_DIR", "XDG_CACHE_HOME"}}
    done = subprocess.run([sys.executable, "-c", script], env=kept, capture_output=True, text=True)
    assert "MS402 this user has no home folder for the cache" in done.stdout, done.stderr


def test_a_cache_full_of_junk_works(project: Project) -> None:
    """Names that are no digests, in every folder."""
    project.build("--until", "load")
    root = Store(project.cache).root
    for number in range(20_000):
        (root / "cas" / "sha256" / f"junk-{number}").touch()
        (root / "ac" / f"junk-{number}").touch()
    assert "0 to run" in project.run("plan", "--until", "load").stdout
    assert project.run("cache", "prune", "--max-size", "1GB").returncode == 0
    assert project.run("cache", "verify").returncode == 0
