"""Every `run:` step of the workflows, as GitHub runs it; those that would install or test everything only say what they would."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.lsp import modules
from tests.workflow.runner import FILES, ROOT, Ran, Runner, evaluate, filled, load, run_action

BUILD = ".github/actions/build/action.yml"
IGNORED = shutil.ignore_patterns(
    ".git", ".venv", "dist", "node_modules", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info"
)
SHOWN = {
    ("ci.yml", "lint"), ("ci.yml", "test"), ("ci.yml", "wheel"), ("ci.yml", "action"), ("model.yml", "compose"),
    ("attest.yml", "attest"), ("release.yml", "build"),
}  # fmt: skip
"""The jobs with `run:` steps; each has a test below."""

pytestmark = pytest.mark.slow


def job(name: str, job: str) -> dict[str, Any]:
    found: dict[str, Any] = load(f".github/workflows/{name}")["jobs"][job]
    return found


def run_job(
    runner: Runner, name: str, which: str, context: dict[str, Any] | None = None, **used: dict[str, str]
) -> Ran:
    """The steps of a job; `used` gives the outputs of `uses:` steps by their id."""
    return runner.steps(job(name, which)["steps"], context or {}, None, used)


def test_every_job_with_scripts_has_its_test() -> None:
    found = {
        (Path(name).name, which)
        for name in FILES
        if "workflows" in name
        for which, value in load(name)["jobs"].items()
        if any("run" in step for step in value.get("steps", ()))
    }
    assert found == SHOWN


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The repository, without what is made in it."""
    return shutil.copytree(ROOT, tmp_path / "work", ignore=IGNORED, symlinks=True)


@pytest.fixture
def no_pip(tmp_path: Path) -> dict[str, str]:
    """An environment whose python says what `-m pip` was asked for, and does all else."""
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\n[ "$1 $2" = "-m pip" ] && echo "$@" && exit\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return {"PATH": f"{tmp_path}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"}


def installs_what_the_readme_says(log: str) -> bool:
    readme = (ROOT / "README.md").read_text()
    lines = [line for line in log.splitlines() if line.startswith("-m pip install")]
    return len(lines) == 2 and all(line.removeprefix("-m ").replace(".[dev]", '".[dev]"') in readme for line in lines)


def test_lint_job(copy: Path, tmp_path: Path, no_pip: dict[str, str]) -> None:
    subprocess.run(["git", "init", "-q", copy], check=True)
    runner = Runner(
        copy, tmp_path / "temp", env={**no_pip, "PYTHONPATH": str(copy), "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache")}
    )
    done = run_job(runner, "ci.yml", "lint")
    assert done.status == 0, done.log
    assert done.ran == ["Install", "Lint", "Types", "Workflows"]
    assert installs_what_the_readme_says(done.log)


def test_test_job(tmp_path: Path, no_pip: dict[str, str]) -> None:
    """It collects every test."""
    env = {
        **no_pip,
        "MODELSPEC_NODE_MODULES": str(modules()),
        "PYTEST_ADDOPTS": "--collect-only -q -p no:cacheprovider",
    }
    done = run_job(Runner(ROOT, tmp_path / "temp", env=env), "ci.yml", "test", {"matrix": {"python": "3.11"}})
    assert done.status == 0, done.log
    assert done.ran == ["Install", "Test"]
    assert installs_what_the_readme_says(done.log)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the job `wheel` uploads: it built sdist and wheel twice and used the wheel in an empty environment."""
    root = tmp_path_factory.mktemp("wheels")
    copy = shutil.copytree(ROOT, root / "work", ignore=IGNORED, symlinks=True)
    done = run_job(Runner(copy, root / "temp"), "ci.yml", "wheel")
    assert done.status == 0, done.log
    assert "examples" in done.log or "valid" in done.log, done.log
    return copy / "dist-wheel"


def test_wheel_job_gives_one_of_each(wheels: Path) -> None:
    assert sorted(path.suffix for path in wheels.iterdir()) == [".gz", ".whl"]


def run(command: Sequence[str | Path], folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=folder, env={**outside, **env}, capture_output=True, text=True, timeout=300)


def test_the_wheel_builds_an_example(wheels: Path, tmp_path: Path) -> None:
    """In an environment that holds the wheel, and finds the libraries of this one behind it."""
    assert run([sys.executable, "-m", "venv", "env"], tmp_path).returncode == 0
    python = tmp_path / "env/bin/python"
    (wheel,) = wheels.glob("*.whl")
    done = run([python, "-m", "pip", "install", "-q", "--no-deps", wheel], tmp_path)
    assert done.returncode == 0, done.stderr
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    libraries = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "libraries.pth").write_text(libraries + "\n")
    shutil.copytree(ROOT / "examples/breast-cancer", tmp_path / "cancer", ignore=IGNORED)
    where = run([python, "-c", "import modelspec; print(modelspec.__file__)"], tmp_path / "cancer")
    assert where.stdout.startswith(str(site))
    line: list[str | Path] = [python, "-m", "modelspec", "build", "--format", "json", "--progress", "none"]
    done = run(line, tmp_path / "cancer", MODELSPEC_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert all(gate["passed"] for gate in json.loads(done.stdout)["gates"])


def test_release_job(wheels: Path, tmp_path: Path) -> None:
    """The tag has to be the version. The step that builds is that of the job `wheel`."""
    steps = [step for step in job("release.yml", "build")["steps"] if "run" in step]
    assert steps[0]["run"] == next(step["run"] for step in job("ci.yml", "wheel")["steps"] if "run" in step)
    (wheel,) = wheels.glob("*.whl")
    version = wheel.name.split("-")[1]
    for tag, status in ((f"v{version}", 0), ("v9.9.9", 1), ("v*", 1)):
        runner = Runner(wheels.parent, tmp_path / "temp", env={"GITHUB_REF_NAME": tag})
        assert runner.steps(steps[1:], {}).status == status, tag


def test_action_job(tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(ROOT / "examples/breast-cancer", work / "examples/breast-cancer", ignore=IGNORED)
    runner = Runner(work, tmp_path / "temp")
    step = next(step for step in job("ci.yml", "action")["steps"] if step.get("id") == "build")
    built = run_action(BUILD, runner, {"version": "installed", "python": "", **step["with"]})
    assert built.status == 0, built.log
    done = run_job(runner, "ci.yml", "action", build=built.context["outputs"])
    assert done.status == 0, done.log
    wrong = {**built.context["outputs"], "digest": "sha256:0"}
    assert run_job(runner, "ci.yml", "action", build=wrong).status == 1


def test_model_workflow_composes_what_the_jobs_of_the_targets_made(tmp_path: Path) -> None:
    """Plan, a job for each target on a machine of its own, and the last one, which runs nothing again."""
    given = {"file": "digits/model.yaml", "extras": "sklearn", "runners": "{}", "cache": "true", "fail-on": "gate"}
    machines = iter(range(10))

    def machine() -> Runner:
        root = tmp_path / str(next(machines))
        shutil.copytree(ROOT / "examples/digits", root / "work/digits", ignore=IGNORED)
        return Runner(root / "work", root / "temp")

    def call(runner: Runner, which: str, step: str, context: dict[str, Any]) -> Ran:
        found = next(one for one in job("model.yml", which)["steps"] if one["name"] == step)
        values = {"inputs": given, "github": {"event_name": "push"}, **context}
        inputs = {name: filled(value, values) for name, value in found["with"].items()}
        name = found["uses"].removeprefix("$/") + "/action.yml"
        return run_action(name, runner, {"version": "installed", "python": "", **inputs})

    planned = call(machine(), "plan", "Plan", {})
    matrix = json.loads(planned.context["outputs"]["matrix"])
    assert [entry["runner"] for entry in matrix["include"]] == ["ubuntu-24.04"] * 2
    last = machine()
    kept = last.temp / "modelspec-cache" / "v1"
    for entry in matrix["include"]:
        runner = machine()
        built = call(runner, "target", "Build", {"matrix": entry})
        assert built.status == 0, built.log
        for file in (runner.temp / "modelspec-cache" / "v1").rglob("*"):  # artifacts keep no modes
            if file.is_file():
                target = kept / file.relative_to(runner.temp / "modelspec-cache" / "v1")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes())
    composed = call(last, "compose", "Build", {})
    assert composed.status == 0, composed.log
    outputs = composed.context["outputs"]
    assert (outputs["misses"], outputs["changed"]) == ("0", "false")
    assert "Save results" not in composed.used
    done = run_job(last, "model.yml", "compose", {"inputs": given}, build=outputs)
    assert done.output("name", "artifact") == "digits-1.0.0"
    attest(last, outputs["folder"], tmp_path)


def attest(runner: Runner, folder: str, tmp_path: Path) -> None:
    """The job that signs looks first whether all that arrived is whole; and never runs for a pull request."""
    published = shutil.copytree(runner.workspace / folder, tmp_path / "attest" / "published")
    signer = Runner(published.parent, tmp_path / "attest-temp")
    done = run_job(signer, "attest.yml", "attest", {"inputs": {"artifact": "digits-1.0.0"}})
    assert done.status == 0, done.log
    assert done.used["Attest"]["subject-checksums"] == "published/checksums.txt"
    (published / "cpu-int8" / "model.onnx").write_bytes(b"other")
    done = run_job(signer, "attest.yml", "attest", {"inputs": {"artifact": "digits-1.0.0"}})
    assert done.status == 1
    assert "Attest" not in done.used
    condition = job("attest.yml", "attest")["if"]
    for event, artifact, runs in (("push", "a", True), ("pull_request", "a", False), ("push", "", False)):
        assert bool(evaluate(condition, {"github": {"event_name": event}, "inputs": {"artifact": artifact}})) is runs
