"""The hooks, run by pre-commit itself from a repository of its own in one that uses them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "breast-cancer"
SHIPPED = ("modelspec", "schemas", "templates", "pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml")
MOST_BYTES = 60_000_000

pytestmark = pytest.mark.skipif(
    find_spec("pre_commit") is None or shutil.which("git") is None, reason="pre-commit or git is not installed"
)


def run(command: Sequence[str | Path], folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "MODELSPEC_CACHE_DIR"}}
    identity = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return subprocess.run(
        command, cwd=folder, env={**outside, **identity, **env}, capture_output=True, text=True, timeout=600
    )


def commit(folder: Path) -> str:
    """Everything in the folder, as a commit; returns its name."""
    for args in (("init", "-q", "."), ("add", "-A"), ("commit", "-qm", "All")):
        done = run(["git", *args], folder)
        assert done.returncode == 0, done.stderr
    return run(["git", "rev-parse", "HEAD"], folder).stdout.strip()


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with what the hooks are installed from."""
    folder = tmp_path_factory.mktemp("hooks")
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    commit(folder)
    return folder


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two projects, one of them built."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copytree(EXAMPLE, folder / "models" / "cancer", ignore=shutil.ignore_patterns("dist", "*.lock"))
    build: list[str | Path] = [sys.executable, "-m", "modelspec", "build", "--progress", "none", "-o", folder / ".out"]
    done = run(build, folder / "models" / "cancer", PYTHONPATH=str(ROOT), MODELSPEC_CACHE_DIR=str(folder / ".cache"))
    assert done.returncode == 0, done.stderr
    for name in (".out", ".cache"):
        shutil.rmtree(folder / name)
    (folder / "README.md").write_text("Models.\n")
    return folder


@pytest.fixture
def user(locked: Path, tmp_path: Path) -> Path:
    return shutil.copytree(locked, tmp_path / "user")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pre-commit keeps the environment of the hooks."""
    return tmp_path_factory.mktemp("home")


def pre_commit(folder: Path, hooks: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """`pre-commit run --all-files` with both hooks."""
    rev = run(["git", "rev-parse", "HEAD"], hooks).stdout.strip()
    used = [{"id": "modelspec-validate"}, {"id": "modelspec-lock-check"}]
    config = {"repos": [{"repo": str(hooks), "rev": rev, "hooks": used}]}
    (folder / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    commit(folder)
    command = [sys.executable, "-m", "pre_commit", "run", "--all-files", "--color=never"]
    return run(command, folder, PRE_COMMIT_HOME=str(home))


def test_the_manifest_is_one() -> None:
    done = run([sys.executable, "-m", "pre_commit", "validate-manifest", ".pre-commit-hooks.yaml"], ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_good_files_pass_from_a_repository_to_try(user: Path, hooks: Path, tmp_path: Path) -> None:
    commit(user)
    command: list[str | Path] = [sys.executable, "-m", "pre_commit", "try-repo", hooks, "--all-files", "--color=never"]
    done = run(command, user, PRE_COMMIT_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Passed") == 2
    assert run(["git", "status", "--porcelain"], user).stdout == ""


@pytest.mark.slow
def test_bad_files_fail_with_their_position(user: Path, hooks: Path, home: Path) -> None:
    other = user / "models" / "other.modelspec.yaml"
    other.write_text("apiVersion: modelspec/v1\nname: Other\nsourcee: {}\n")
    with (user / "models" / "cancer" / "data" / "test.csv").open("a") as file:
        file.write("\n")
    done = pre_commit(user, hooks, home)
    assert done.returncode == 1
    assert "models/other.modelspec.yaml:2:7: MS206" in done.stdout
    assert "models/other.modelspec.yaml:3:1: MS201" in done.stdout
    assert "models/cancer/model.lock:" in done.stdout
    assert "MS631 model.lock is out of date: 'data/test.csv' has changed" in done.stdout


@pytest.mark.slow
def test_the_environment_is_light(user: Path, hooks: Path, home: Path) -> None:
    done = pre_commit(user, hooks, home)
    assert done.returncode == 0, done.stdout + done.stderr
    (environment,) = home.glob("*/py_env-*")
    size = sum(path.lstat().st_size for path in environment.rglob("*") if not path.is_symlink())
    print(f"environment of the hooks: {size / 1e6:.1f} MB")
    assert size < MOST_BYTES
    assert not list(environment.rglob("numpy"))
