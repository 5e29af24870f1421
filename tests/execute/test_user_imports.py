"""User code may import what is declared, what that brings, and the standard library."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from modelspec.errors import ModelspecError
from modelspec.execute.user_imports import watched


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    path, bytecode, before = list(sys.path), sys.dont_write_bytecode, set(sys.modules)
    yield
    sys.path[:], sys.dont_write_bytecode = path, bytecode
    for name in {"model", "helper"} & (set(sys.modules) - before):
        del sys.modules[name]


def run(folder: Path, declared: set[str], **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    with watched(folder, frozenset(declared)):
        import_module("model")


@pytest.mark.parametrize(
    "text",
    ["import json, os.path", "import numpy", "from numpy.linalg import norm", "import helper", "from helper import x"],
)
def test_declared_and_own_modules_are_allowed(tmp_path: Path, text: str) -> None:
    run(tmp_path, {"numpy"}, model=text, helper="x = 1")


def test_what_a_declared_distribution_requires_is_allowed(tmp_path: Path) -> None:
    run(tmp_path, {"onnx"}, model="import numpy")


@pytest.mark.parametrize("text", ["import jinja2", "def f():\n    import jinja2\nf()", "import helper"])
def test_an_undeclared_distribution_is_refused_with_the_line_to_add(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelspecError) as caught:
        run(tmp_path, {"numpy"}, model=text, helper="import jinja2")
    (problem,) = caught.value.diagnostics
    assert problem.code == "MS518"
    assert "'jinja2'" in problem.message
    assert problem.help == "add to source: requires: [jinja2]"


def test_a_loose_module_on_the_python_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing keys what it holds."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "helper.py").write_text("x = 1")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    (tmp_path / "code").mkdir()
    with pytest.raises(ModelspecError, match=r"MS518 model\.py imports 'helper' from PYTHONPATH"):
        run(tmp_path / "code", {"numpy"}, model="import helper")


def test_imports_of_libraries_themselves_are_their_own_business(tmp_path: Path) -> None:
    sys.modules.pop("sklearn.datasets", None)
    run(tmp_path, {"scikit-learn"}, model="import sklearn.datasets")


def test_without_user_code_nothing_is_watched(tmp_path: Path) -> None:
    with watched(tmp_path / "absent", frozenset()):
        import jinja2  # noqa: F401
