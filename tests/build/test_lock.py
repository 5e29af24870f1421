"""model.lock: written by a build, kept by --locked, moved by --update."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from modelspec.lock import instruction_set
from tests.build.conftest import Project, write_model
from tests.build.test_cache import tmpfs

RANDOM = """\
import os
import numpy

def load():
    random = numpy.random.default_rng(int.from_bytes(os.urandom(4), "little"))
    return {"x": random.normal(size=(64, 16)).astype("float32")}
"""


def lock(project: Project) -> Path:
    return project.folder / "model.lock"


def retooled(project: Project) -> None:
    """As if the lock had been written with another version."""
    import onnxruntime

    text = lock(project).read_text()
    version = f'"onnxruntime": "{onnxruntime.__version__}"'
    assert version in text
    lock(project).write_text(text.replace(version, '"onnxruntime": "1.0.0"'))


def test_a_build_writes_it_and_a_second_one_leaves_it(project: Project) -> None:
    project.build()
    text, written = lock(project).read_text(), lock(project).stat().st_mtime_ns
    assert '  "model.onnx": "sha256:' in text
    assert '  "onnxruntime": "' in text
    project.build()
    assert lock(project).stat().st_mtime_ns == written
    keys = [action["key"] for action in json.loads((project.dist / "build.json").read_text())["actions"]]
    assert not any(key in text for key in keys)
    assert str(project.folder) not in text


def test_it_does_not_depend_on_where_it_is_written(project: Project, tmp_path: Path) -> None:
    project.build()
    other = tmp_path / "elsewhere"
    subprocess.run(["cp", "-r", str(project.folder), str(other)], check=True)
    (other / "model.lock").unlink()
    Project(other, tmp_path / "other cache").build()
    assert (other / "model.lock").read_bytes() == lock(project).read_bytes()


def test_locked_passes_while_nothing_differs(project: Project) -> None:
    project.build()
    before = lock(project).read_bytes()
    project.build("--locked")
    assert project.run("plan", "--locked").returncode == 0
    project.edit("min: 0.5", "min: 0.6")  # a limit is no input
    project.build("--locked")
    assert lock(project).read_bytes() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: write_model(p.folder / "model.onnx", seed=3), "'model.onnx' has changed"),
        (lambda p: p.edit("ranges: minmax", "ranges: entropy"), "the options of the target 'cpu-int8' are others"),
        (
            lambda p: p.edit("  - {device: cpu}\n", "  - {device: cpu}\n  - {name: b, device: cpu}\n"),
            "'b' is not in it",
        ),
        (lambda p: p.edit("  - {device: cpu}\n", ""), "the spec has no target 'cpu-fp32'"),
        (retooled, "onnxruntime"),
    ],
)
def test_locked_names_everything_that_differs(project: Project, change: object, said: str) -> None:
    project.build()
    change(project)  # type: ignore[operator]
    before, dist = lock(project).read_bytes(), project.tree()
    for command in ("build", "plan"):
        done = project.run(command, "--locked")
        assert done.returncode == 5, done.stdout + done.stderr
        assert "error[MS631]" in done.stderr
        assert said in done.stderr
        assert "--> model.lock:" in done.stderr
    assert (lock(project).read_bytes(), project.tree()) == (before, dist)


def test_plan_locked_loads_no_heavy_library(project: Project) -> None:
    project.build()
    script = (
        "import sys\nfrom modelspec.cli import main\nsys.argv = ['modelspec', 'plan', '--locked']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'sklearn', 'numpy', 'jinja2'} & set(sys.modules)))"
    )
    environment = {"MODELSPEC_CACHE_DIR": str(project.cache), "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=project.folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("[]\n")


def test_plan_locked_does_without_the_tools(project: Project) -> None:
    """As in a hook's environment, which holds nothing but modelspec's own dependencies."""
    project.build()
    core = ("modelspec", "click", "pydantic", "yaml", "packaging", "platformdirs")
    site = project.folder / "site"
    site.mkdir()
    for name in (*core, "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection", "_yaml"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        place = Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)
        (site / place.name).symlink_to(place)
    script = "import sys; sys.argv[0] = 'modelspec'; from modelspec.cli import main; main()"
    command = [sys.executable, "-S", "-c", script, "plan", "--locked"]
    environment = {"MODELSPEC_CACHE_DIR": str(project.cache), "PYTHONPATH": str(site)}
    done = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 5, done.stdout + done.stderr
    assert done.stderr.count("error[MS631]") == 1  # modelspec's own version: its metadata is not there either
    assert "modelspec 0+unknown is installed" in done.stderr


def test_locked_without_a_lock_is_refused(project: Project) -> None:
    assert "MS633" in project.build("--locked", exits=5)
    assert "MS325" in project.build("--locked", "--update", exits=2)
    assert "MS325" in project.build("--update", "compress", exits=2)


def test_a_result_that_differs_from_run_to_run_is_noticed(project: Project) -> None:
    (project.folder / "data.py").write_text(RANDOM)
    project.edit("calibration: {path: calibration.npz}", 'calibration: {loader: "data.py:load"}')
    project.build()
    before, dist = lock(project).read_bytes(), project.tree()
    said = project.build("--no-cache", "load", exits=5)
    assert "error[MS632]: cpu-int8/model.onnx is not the one that model.lock pins" in said
    assert "cpu-fp32/model.onnx" not in said
    assert (lock(project).read_bytes(), project.tree()) == (before, dist)
    assert "MS632" in project.build("--no-cache", "load", "--locked", exits=5)
    assert "MS632" in project.build("--no-cache", "load", "--update", "golden", exits=5)
    project.build("--no-cache", "load", "--update", "load")
    assert lock(project).read_bytes() != before


def test_machines_of_other_kinds_do_not_contend(project: Project) -> None:
    project.build()
    mine = lock(project).read_text()
    lock(project).write_text(mine.replace(instruction_set(), "x86_64 another"))
    project.build("--locked")  # nothing is pinned for this machine, and nothing else differs
    project.build()
    both = lock(project).read_text()
    assert both.count("x86_64 another") == both.count(instruction_set()) == 2
    lock(project).write_text(both.replace("x86_64 another", "x86_64 third"))
    project.build("--locked")
    write_model(project.folder / "model.onnx", seed=3)
    project.edit("min: 0.5, max_drop: 0.1", "min: 0, max_drop: 1")
    project.build()
    assert "third" not in lock(project).read_text()  # what it says was made from another model


def test_one_target_leaves_the_pins_of_the_others(project: Project) -> None:
    project.build()
    before = lock(project).read_bytes()
    project.build("--target", "cpu-int8", "-o", "other")
    assert lock(project).read_bytes() == before


@pytest.mark.parametrize(
    "text", ["", "<<<<<<< HEAD\n", "formatVersion: 2\n", "formatVersion: 1\ninputs: [a]\n", "a: b\n"]
)
def test_a_lock_that_cannot_be_understood_is_said_and_can_be_written_anew(project: Project, text: str) -> None:
    lock(project).write_text(text)
    for arguments in ((), ("--locked",)):
        said = project.build(*arguments, exits=5)
        assert "error[MS630]: model.lock cannot be understood" in said
        assert lock(project).read_text() == text
    project.build("--update")
    project.build("--locked")


def test_a_folder_that_cannot_be_written_to_is_a_warning(project: Project, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "mounted", "size=16m") as mounted:
        subprocess.run(["cp", "-r", f"{project.folder}/.", str(mounted)], check=True)
        subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
        read_only = Project(mounted, project.cache)
        said = read_only.build("-o", str(tmp_path / "dist"))
        assert said.count("warning[MS452]") == 1
        assert (tmp_path / "dist" / "tiny" / "1.0.0" / "build.json").is_file()
