"""`modelspec lock-check`: which specs files belong to, what is told, and that it leaves nothing behind."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelspec import drift

EXAMPLE = Path(__file__).parents[2] / "examples" / "breast-cancer"


def modelspec(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelspec", *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its lock, below the root of a repository."""
    root = tmp_path_factory.mktemp("locked")
    (root / ".git").mkdir()
    folder = root / "models" / "cancer"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("dist", "__pycache__", "*.lock"))
    done = modelspec(folder, "build", "--progress", "none", "--cache-dir", str(root / "cache"))
    assert done.returncode == 0, done.stderr
    shutil.rmtree(root / "cache")
    shutil.rmtree(folder / "dist")
    return root


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Iterator[Path]:
    yield shutil.copytree(built, tmp_path / "copy")
    drift._around.cache_clear()
    drift._specs_in.cache_clear()


def test_nothing_changed_and_nothing_is_left_behind(root: Path) -> None:
    before = sorted(root.rglob("*"))
    names = [str(path.relative_to(root)) for path in before if path.is_file()]
    done = modelspec(root, "lock-check", *names)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path for path in sorted(root.rglob("*")) if "__pycache__" not in path.parts] == before


@pytest.mark.parametrize("given", ["models/cancer/model.skops", "models/cancer/model.yaml", "models/cancer/model.lock"])
def test_changed_weights_are_named_with_their_line_in_the_lock(root: Path, given: str) -> None:
    with (root / "models/cancer/model.skops").open("ab") as file:
        file.write(b"\n")
    done = modelspec(root, "lock-check", "--format", "concise", given)
    assert done.returncode == 5
    line = next(n for n, text in enumerate((root / "models/cancer/model.lock").read_text().splitlines(), 1)
                if '"model.skops"' in text)  # fmt: skip
    assert done.stdout.startswith(f"models/cancer/model.lock:{line}:")
    assert "MS631" in done.stdout


def test_other_options_and_other_tools(root: Path) -> None:
    """Tools of the machine that checks are of no account; those of the spec are."""
    lock = root / "models/cancer/model.lock"
    text = lock.read_text()
    lock.write_text(text.replace('"onnxruntime": "', '"onnxruntime": "0.'))
    assert lock.read_text() != text
    assert modelspec(root, "lock-check", str(lock)).returncode == 0
    spec = root / "models/cancer/model.yaml"
    spec.write_text(spec.read_text() + "convert: {opset: 18}\n")
    done = modelspec(root, "lock-check", "--format", "concise", str(spec))
    assert done.returncode == 5
    assert "the options of the target 'cpu-fp32' are others" in done.stdout


def test_a_spec_that_is_named_needs_a_lock_and_has_to_be_valid(root: Path) -> None:
    (root / "models/cancer/model.lock").unlink()
    done = modelspec(root, "lock-check", "models/cancer/model.yaml", "--format", "concise")
    assert done.returncode == 5
    assert done.stdout.startswith("models/cancer/model.yaml: MS633")
    assert modelspec(root, "lock-check", "models/cancer/model.skops").returncode == 0
    (root / "models/cancer/model.yaml").write_text("name: [")
    done = modelspec(root, "lock-check", "models/cancer/model.yaml", "--format", "concise")
    assert done.returncode == 2
    assert done.stdout.startswith("models/cancer/model.yaml:1:")


def test_which_specs_a_file_belongs_to(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    folder = root / "models/cancer"
    (folder / "other.modelspec.yaml").write_text("")
    (folder / "other.modelspec.lock").write_text("")
    (root / "poetry.lock").write_text("")
    spec, other = folder / "model.yaml", folder / "other.modelspec.yaml"
    for names, expected in (
        (["models/cancer/data/test.csv"], [spec, other]),
        (["models/cancer/model.lock", "models/cancer/model.yaml"], [spec]),
        (["models/cancer/other.modelspec.lock"], [other]),
        (["poetry.lock", "models/nothing.txt"], []),
    ):
        assert drift.specs_of(map(Path, names)) == expected
    monkeypatch.chdir(folder / "data")
    assert drift.specs_of([Path("test.csv")]) == [spec, other]


def test_loads_nothing_heavy(root: Path) -> None:
    script = (
        "import sys; sys.argv[1:] = ['lock-check', 'models/cancer/model.yaml']\n"
        "import modelspec.cli\n"
        "try: modelspec.cli.main()\n"
        "except SystemExit as end: print(end.code, *sorted(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60)
    status, *modules = done.stdout.split()
    assert status == "0"
    heavy = {"torch", "onnx", "onnxruntime", "sklearn", "numpy", "rich", "jinja2", "socket", "urllib.request"}
    assert not heavy & {name.split(".")[0] for name in modules}
