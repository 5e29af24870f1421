"""`verify --rebuild`: the same bytes from another environment, and the right names where there are others."""

import json
import os
import shutil
from pathlib import Path

import onnx
import pytest

from modelspec import build
from modelspec.errors import Exit
from modelspec.meaning.verdict import Verdict
from modelspec.spec.load import load
from modelspec.store.stat_cache import StatCache
from modelspec.verify.project import copy_project
from modelspec.verify.variation import vary
from modelspec.verify.verify import Asked, Verification, verify
from tests.build.conftest import SPEC, MakeProject, Project, write_data, write_model
from tests.build.published import change_weight, edit_json, first_weight, seal

FP32 = "cpu-fp32"
MODEL = f"{FP32}/model.onnx"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The tiny project with one target, built once."""
    folder = tmp_path_factory.mktemp("built") / "project"
    folder.mkdir()
    write_model(folder / "model.onnx")
    write_data(folder)
    quantized = "quantize:\n  int8: {method: static, data: calibration, ranges: minmax}\n"
    spec = SPEC.replace("  - {device: cpu, precision: int8}\n", "").replace(quantized, "")
    (folder / "model.yaml").write_text(spec.replace("  calibration: {path: calibration.npz}\n", ""))
    project = Project(folder, folder.parent / "cache")
    project.build()
    return project


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Project:
    shutil.copytree(built.folder, tmp_path / "copy")
    return Project(tmp_path / "copy", tmp_path / "cache")


def rebuilt(project: Project) -> Verification:
    return verify(Asked(project.dist, project.spec), lambda _: None)


def codes(found: Verification) -> list[str]:
    return [problem.code for problem in found.problems]


def message(found: Verification, code: str) -> str:
    (problem,) = (problem for problem in found.problems if problem.code == code)
    return f"{problem.message} ({problem.why})"


def test_an_untouched_folder_is_exact_and_the_cache_is_not_used(project: Project) -> None:
    done = project.run("verify", "dist/tiny/1.0.0", "--rebuild")
    assert done.returncode == 0, done.stderr
    assert "rebuild  exact (7 exact; PYTHONHASHSEED 77, TZ NPT-5:45, " in done.stdout
    assert not project.cache.exists()


def test_a_changed_weight_is_named_with_its_file(project: Project) -> None:
    """One float was changed by hand, and every digest after it."""
    name = first_weight(project.dist / MODEL)
    change_weight(project.dist / MODEL, name, by=0.5)
    seal(project.dist)
    done = project.run("verify", "dist/tiny/1.0.0", "--rebuild")
    assert done.returncode == Exit.INTEGRITY
    assert "error[MS605]" in done.stderr
    assert f"error[MS607]: {MODEL} is different: initializer {name}: 1 of " in done.stderr
    assert f"  {MODEL}: different" in done.stdout
    assert "6 exact, 1 different" in done.stdout
    done = project.run("verify", "dist/tiny/1.0.0", "--rebuild", "--format", "json")
    files = {one["file"]: one for one in json.loads(done.stdout)["rebuild"]["files"]}
    first = files[MODEL]["findings"][0]
    assert (first["kind"], first["name"]) == ("initializer", name)
    assert first["gap"] == pytest.approx(0.5)


def test_the_least_change_of_a_weight_is_different_here_and_within_tolerance_elsewhere(project: Project) -> None:
    name = first_weight(project.dist / MODEL)
    change_weight(project.dist / MODEL, name)
    seal(project.dist)
    found = rebuilt(project)
    assert f"initializer {name}: 1 of " in message(found, "MS607")
    edit_json(project.dist / "build.json", lambda build: build["environment"].update(isa="another"))
    found = rebuilt(project)
    assert found.problems == []
    assert found.rebuilt is not None
    assert found.rebuilt.verdict is Verdict.WITHIN


def test_another_order_and_other_words_are_equivalent(project: Project) -> None:
    proto = onnx.load(project.dist / MODEL)
    weights = list(proto.graph.initializer)[::-1]
    size = (project.dist / MODEL).stat().st_size
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(weights)
    proto.producer_name = "somebody!"  # as many letters as before
    onnx.save(proto, project.dist / MODEL)
    assert (project.dist / MODEL).stat().st_size == size
    seal(project.dist)
    found = rebuilt(project)
    assert found.problems == []
    assert found.rebuilt is not None
    assert found.rebuilt.verdict is Verdict.EQUIVALENT


def test_changed_numbers_and_texts_are_named_by_key_array_and_line(project: Project) -> None:
    edit_json(project.dist / FP32 / "metrics.json", lambda value: value["metrics"].update(accuracy=0.75))
    edit_json(project.dist / "build.json", lambda build: build["metrics"][FP32].update(accuracy=0.75))
    card = project.dist / "MODEL_CARD.md"
    card.write_text(card.read_text().replace("# tiny", "# huge"))
    shutil.copy(project.dist / FP32 / "golden/inputs.npz", project.dist / FP32 / "golden/outputs.npz")
    seal(project.dist)
    texts = [problem.message for problem in rebuilt(project).problems if problem.code == "MS607"]
    assert any(f"{FP32}/metrics.json is different: key metrics.accuracy: 0.75 -> 1.0" in text for text in texts)
    assert any("MODEL_CARD.md is different: -# huge 1.0.0; +# tiny 1.0.0" in text for text in texts)
    assert any("golden/outputs.npz is different: array logits: is only in the rebuilt file" in text for text in texts)


def test_files_that_one_side_lacks(project: Project) -> None:
    (project.dist / FP32 / "runtime.json").unlink()
    (project.dist / "notes.txt").write_text("to do")
    texts = [problem.message for problem in rebuilt(project).problems if problem.code == "MS607"]
    assert f"{FP32}/runtime.json is different: only the rebuild has this file" in texts
    assert "notes.txt is different: the rebuild has no such file" in texts


def test_names_that_no_terminal_should_see(project: Project) -> None:
    (project.dist / os.fsdecode(b"\xff\x1b[31m")).write_text("planted")
    done = project.run("verify", "dist/tiny/1.0.0", "--rebuild")
    assert done.returncode == Exit.INTEGRITY
    assert "\x1b" not in done.stdout + done.stderr
    assert "MS603" in done.stderr
    done = project.run("verify", "dist/tiny/1.0.0", "--format", "json")
    assert json.loads(done.stdout)["diagnostics"][0]["code"] == "MS603"


def test_another_spec_is_said_first_and_nothing_is_built(project: Project) -> None:
    (project.dist / "notes.txt").write_text("to do")
    project.edit("min: 0.5", "min: 0.6")
    found = rebuilt(project)
    assert codes(found) == ["MS606", "MS603"]
    assert found.rebuilt is None
    project.edit('version: "1.0.0"', 'version: "1.0.1"')
    assert "version is 1.0.1, and the folder was built from 1.0.0" in message(rebuilt(project), "MS606")


def test_another_model_is_told_from_an_edited_artifact(project: Project) -> None:
    write_model(project.folder / "model.onnx", seed=3)
    found = rebuilt(project)
    assert set(codes(found)) == {"MS607"}
    assert found.problems[0].why == "the files of the project are not those of the build: convert has other inputs"


def test_limits_that_are_not_those_of_the_spec(project: Project) -> None:
    """The record agrees with itself; only the spec knows better."""
    edit_json(project.dist / "build.json", lambda build: build["gates"][0].update(written=0.1, limit=0.1))
    assert message(rebuilt(project), "MS604").startswith("the gates of build.json are not those of the spec")


def test_a_rebuild_that_fails_says_why(project: Project) -> None:
    (project.folder / "model.onnx").write_bytes(b"\x08")
    found = rebuilt(project)
    assert codes(found) == ["MS504"]
    assert found.problems[0].message.startswith("the rebuild failed: convert")


def test_only_what_the_spec_names_is_copied(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project()
    (project.folder / "notes.txt").write_text("not named")
    (project.folder / "model.lock").write_text("{}")
    target = tmp_path / "there"
    spec = copy_project(load(project.spec), target, StatCache(tmp_path / "stat.json"))
    assert spec.read_bytes() == project.spec.read_bytes()
    names = {path.relative_to(target).as_posix() for path in target.rglob("*")}
    assert names == {"model.yaml", "model.lock", "model.onnx", "test.npz", "calibration.npz"}


def test_everything_is_varied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = vary(tmp_path)
    for name in ("PYTHONHASHSEED", "TZ", "LC_ALL", "HOME", "TMPDIR", "USER", "LOGNAME"):
        assert found.env[name] != os.environ.get(name), name
    cores = os.sched_getaffinity(0)
    assert len(found.cores) == max(len(cores) - 1, 1)
    for name, value in found.env.items():
        if name != "PATH":
            monkeypatch.setenv(name, value)
    umask = os.umask(found.umask)
    try:
        (tmp_path / "again").mkdir()
        again = vary(tmp_path / "again")
    finally:
        os.umask(umask)
    for name in ("PYTHONHASHSEED", "TZ", "LC_ALL"):
        assert again.env[name] != found.env[name], name
    assert again.umask != found.umask


def test_a_rebuild_is_compared_and_not_judged(make_project: MakeProject, tmp_path: Path) -> None:
    """A latency that this machine cannot keep today says nothing about what was published."""
    project = make_project()
    project.edit("{metric: accuracy, min: 0.5, max_drop: 0.1}", "{metric: accuracy, min: 1.01}")
    asked = build.Asked(project.spec, tmp_path / "cache", tmp_path / "dist", (FP32,), judged=False)
    outcome = build.build(asked, lambda _: None, lambda _: None)
    assert outcome.folder is not None
    assert [gate.passed for gate in outcome.gates if gate.kind == "min"] == [False]
