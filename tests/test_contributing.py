"""The four worked examples of CONTRIBUTING.md: each is one file, and a model is built with all of them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
FILE = re.compile(r"```python\n# (modelspec/\S+\.py)\n(.*?)```", re.DOTALL)

SPEC = """\
apiVersion: modelspec/v1
name: line
version: "1.0.0"
source: {framework: linear, artifact: model.npz}
data:
  test: {path: test.dat}
evaluate: {task: regression, data: test, metrics: [agreement], gates: [{metric: agreement, min: 1}]}
operators: {ignore: [Identity]}
targets: [{device: reference}]
"""


@pytest.fixture
def extended(tmp_path: Path) -> Path:
    """A copy of the package with the examples added."""
    for folder in ("modelspec", "templates", "schemas"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    examples = FILE.findall((ROOT / ".github/CONTRIBUTING.md").read_text())
    assert [Path(name).parent.name for name, _ in examples] == ["loaders", "frameworks", "targets", "stages"]
    for name, text in examples:
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(text.lstrip("\n"))
    return tmp_path


def modelspec(root: Path, *arguments: str) -> str:
    """The command of the copy, in a project beside it."""
    env = {**os.environ, "PYTHONPATH": str(root), "MODELSPEC_CACHE_DIR": str(root / "cache")}
    command = [sys.executable, "-m", "modelspec", *arguments]
    done = subprocess.run(command, cwd=root / "project", env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_one_file_each_is_enough(extended: Path) -> None:
    project = extended / "project"
    project.mkdir()
    random = np.random.default_rng(0)
    weight, bias = random.normal(size=(5, 2)).astype(np.float32), random.normal(size=2).astype(np.float32)
    np.savez(project / "model.npz", weight=weight, bias=bias)
    np.savetxt(project / "test.dat", random.normal(size=(40, 5)))
    (project / "model.yaml").write_text(SPEC)

    modelspec(extended, "build")

    build = json.loads((project / "dist/line/1.0.0/build.json").read_text())
    assert build["metrics"]["reference-fp32"]["operators"] == 1
    for word in ("table", "linear", "reference", "operators"):
        assert word in modelspec(extended, "doctor")
        assert word in modelspec(extended, "schema")


def test_the_examples_keep_the_rules(extended: Path) -> None:
    files = [str(extended / name) for name, _ in FILE.findall((ROOT / ".github/CONTRIBUTING.md").read_text())]
    config = f"--config={ROOT / 'pyproject.toml'}"
    for check in (["check", config, "--extend-ignore=INP001"], ["format", "--check", config]):
        done = subprocess.run([sys.executable, "-m", "ruff", *check, *files], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
