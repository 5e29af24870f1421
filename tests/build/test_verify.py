"""A published folder that is as it was built passes; every kind of damage is named, all of it at once."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from modelspec.errors import Exit
from modelspec.meaning.verdict import Verdict
from modelspec.verify.files import check
from modelspec.verify.verify import Asked, Verification, verify
from tests.build.conftest import SPEC, Project, write_data, write_model
from tests.build.published import change_weight, edit_json, first_weight, flip, plant_link, seal

INT8, FP32 = "cpu-int8", "cpu-fp32"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The tiny project, built once."""
    folder = tmp_path_factory.mktemp("built") / "project"
    folder.mkdir()
    write_model(folder / "model.onnx")
    write_data(folder)
    (folder / "model.yaml").write_text(SPEC)
    project = Project(folder, folder.parent / "cache")
    project.build()
    return project


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Project:
    """A copy of it to damage."""
    shutil.copytree(built.folder, tmp_path / "copy")
    return Project(tmp_path / "copy", tmp_path / "cache")


def verified(project: Project) -> Verification:
    return verify(Asked(project.dist), lambda _: None)


def said(found: Verification) -> list[str]:
    return [f"{problem.code} {problem.message}" for problem in found.problems]


def test_an_untouched_folder_passes_with_counts(project: Project) -> None:
    done = project.run("verify", str(project.dist))
    assert done.returncode == 0, done.stderr
    assert "verified dist/tiny/1.0.0: 13 files, 2 targets, 6 gates" in done.stdout
    for label in (INT8, FP32):
        assert f"{label}: exact (the same bits can be expected here)" in done.stdout


def test_as_json(project: Project) -> None:
    done = project.run("verify", "dist/tiny/1.0.0", "--format", "json")
    value = json.loads(done.stdout)
    assert done.returncode == 0
    assert (value["verified"], value["files"], value["diagnostics"]) == (True, 13, [])
    assert [target["verdict"] for target in value["targets"]] == ["exact", "exact"]
    flip(project.dist / "MODEL_CARD.md")
    done = project.run("verify", "dist/tiny/1.0.0", "--format", "json")
    value = json.loads(done.stdout)
    assert done.returncode == Exit.INTEGRITY
    assert [problem["code"] for problem in value["diagnostics"]] == ["MS602"]


def test_a_flipped_byte_in_any_file_is_found_all_at_once(project: Project) -> None:
    paths = sorted(path for path in project.tree() if path not in {"build.json", "checksums.txt"})
    for path in paths:
        flip(project.dist / path, at=len((project.dist / path).read_bytes()) // 2)
    found = verified(project)
    assert [problem.split(" does not match its digest")[0] for problem in said(found)] == [f"MS602 {p}" for p in paths]
    assert found.targets == [], "damaged files are not run"
    done = project.run("verify", str(project.dist))
    assert done.returncode == Exit.INTEGRITY
    assert done.stderr.count("error[MS602]") == len(paths)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["model.onnx", "golden/inputs.npz"])
def test_one_damaged_file_leaves_the_other_target_verified(project: Project, name: str) -> None:
    flip(project.dist / INT8 / name)
    found = verified(project)
    assert [problem.code for problem in found.problems] == ["MS602"]
    assert f"{INT8}/{name}" in said(found)[0]
    assert [target.target for target in found.targets] == [FP32]


def test_flipped_bytes_of_the_checksums(project: Project) -> None:
    flip(project.dist / "checksums.txt", at=0)
    found = said(verified(project))
    assert any("MODEL_CARD.md" in one for one in found)
    assert "MS602 checksums.txt is not the one that build.json records" in found


def test_a_missing_file(project: Project) -> None:
    (project.dist / INT8 / "golden" / "outputs.npz").unlink()
    assert said(verified(project)) == [f"MS603 {INT8}/golden/outputs.npz is missing"]


@pytest.mark.parametrize("name", ["checksums.txt", "build.json"])
def test_a_missing_record(project: Project, name: str) -> None:
    (project.dist / name).unlink()
    assert f"MS603 {name} is missing" in said(verified(project))


def test_an_added_file(project: Project) -> None:
    (project.dist / FP32 / "notes.txt").write_text("to do")
    assert said(verified(project)) == [f"MS603 {FP32}/notes.txt is not part of this build"]


@pytest.mark.parametrize("name", [f"{FP32}/model.onnx", "build.json", "checksums.txt", "MODEL_CARD.md"])
def test_a_link_to_the_very_bytes_is_no_file(project: Project, name: str) -> None:
    plant_link(project.dist / name, project.folder / "elsewhere")
    found = said(verified(project))
    assert f"MS603 {name} is a link" in found
    assert f"MS603 {name} is missing" not in found


def test_a_linked_folder(project: Project) -> None:
    (project.dist / INT8).rename(project.folder / "elsewhere")
    (project.dist / INT8).symlink_to(project.folder / "elsewhere")
    assert f"MS603 {INT8} is a link" in said(verified(project))


def test_a_pipe_is_not_waited_for(project: Project) -> None:
    import os

    os.mkfifo(project.dist / "pipe")
    assert said(verified(project)) == ["MS603 pipe is not a regular file"]


@pytest.mark.parametrize(("edit", "message"), [
    (lambda path: path.write_bytes(path.read_bytes()[:300]), "build.json cannot be read: Invalid JSON"),
    (lambda path: path.write_bytes(b""), "build.json cannot be read: Invalid JSON"),
    (lambda path: path.write_bytes(b"[" * 100_000), "build.json cannot be read: Invalid JSON"),
    (lambda path: path.write_bytes(b"\xff\xfe"), "build.json cannot be read: Invalid JSON"),
    (lambda path: path.write_bytes(b"{}"), "build.json cannot be read: formatVersion: Field required"),
    (lambda path: edit_json(path, lambda v: v.update(formatVersion=2)), "build.json is of format 2, and this modelspec reads format 1"),
    (lambda path: edit_json(path, lambda v: v.update(metrics=3)), "build.json cannot be read: metrics: Input should be"),
    (lambda path: edit_json(path, lambda v: v["metrics"].update({"../../up": {}})), "build.json cannot be read: metrics.../../up"),
    (lambda path: edit_json(path, lambda v: v.pop("gates")), "build.json cannot be read: gates: Field required"),
])  # fmt: skip
def test_a_broken_record(project: Project, edit: Callable[[Path], object], message: str) -> None:
    edit(project.dist / "build.json")
    found = said(verified(project))
    assert len(found) == 1
    assert found[0].startswith(f"MS604 {message}")


@pytest.mark.parametrize(
    "line", ["no digest", "0" * 64 + "  ../../outside", "0" * 64 + "  /etc/passwd", "0" * 64 + "  a//b"]
)
def test_checksums_that_are_none(project: Project, line: str) -> None:
    sums = project.dist / "checksums.txt"
    sums.write_text(sums.read_text() + line + "\n")
    (problem,) = check(project.dist).problems
    assert (problem.code, problem.message[:42]) == ("MS604", "line 14 of checksums.txt is not a digest a")


def test_a_file_and_its_checksum_edited_alike(project: Project) -> None:
    card, sums = project.dist / "MODEL_CARD.md", project.dist / "checksums.txt"
    was = sums.read_text()
    flip(card)
    seal(project.dist)
    edit_json(project.dist / "build.json", lambda value: value.update(checksums="0" * 64))
    assert sums.read_text() != was
    assert said(verified(project)) == ["MS602 checksums.txt is not the one that build.json records"]


def test_a_file_that_no_action_made(project: Project) -> None:
    (project.dist / FP32 / "extra.bin").write_bytes(b"extra")
    sums = project.dist / "checksums.txt"
    sums.write_text(sums.read_text() + "0" * 64 + f"  {FP32}/extra.bin\n")
    seal(project.dist)
    assert said(verified(project)) == [
        f"MS604 {FP32}/extra.bin is listed with a digest that no action of build.json made"
    ]


@pytest.mark.parametrize("name", ["metrics.json", "runtime.json", "golden/outputs.npz", "model.onnx"])
def test_a_file_that_was_removed_from_the_list_too(project: Project, name: str) -> None:
    """What is not there cannot be wrong; it must not go unnoticed."""
    sums = project.dist / "checksums.txt"
    (project.dist / FP32 / name).unlink()
    sums.write_text("".join(line for line in sums.read_text().splitlines(True) if f"{FP32}/{name}" not in line))
    seal(project.dist)
    found = verified(project)
    assert f"MS604 {FP32}/{name} is not listed, and every build has it" in said(found)
    assert found.error is not None
    assert found.error.exit == Exit.INTEGRITY


def test_edited_gates_are_named_all_at_once(project: Project) -> None:
    edits: list[tuple[str, object, str]] = [
        ("value", 0.9, "has the value 0.9 in build.json, and it is 0.9375"),
        ("limit", 0.2, "has the limit 0.2 in build.json, and it is 0.1"),
        ("source", 0.0, "has the source 0.0 in build.json, and it is 1.0"),
        ("passed", False, "is recorded as failed in build.json, and it passes"),
        ("target", "nowhere", "a gate of build.json is on nowhere, which is no target of it"),
        ("written", "all", "has the limit 'all' in build.json, which is none"),
    ]

    def edit(build: dict[str, list[dict[str, object]]]) -> None:
        for gate, (field, value, _) in zip(build["gates"], edits, strict=True):
            gate[field] = value

    edit_json(project.dist / "build.json", edit)
    found = said(verified(project))
    assert len(found) == len(edits)
    assert all(one.startswith("MS604") for one in found)
    for *_, message in edits:
        assert any(message in one for one in found), message


def test_an_edited_metric_is_not_the_measured_one(project: Project) -> None:
    edit_json(project.dist / "build.json", lambda build: build["metrics"][FP32].update(accuracy=0.25))
    assert said(verified(project)) == [f"MS604 accuracy of {FP32}: build.json says 0.25, the figures of the build 1.0"]


def test_a_size_that_is_not_that_of_the_files(project: Project) -> None:
    edit_json(project.dist / FP32 / "metrics.json", lambda value: value["metrics"].update(size=1))
    edit_json(project.dist / "build.json", lambda value: value["metrics"][FP32].update(size=1))
    seal(project.dist)
    found = said(verified(project))
    assert any(f"the artifact of {FP32} has " in one and one.endswith("says 1") for one in found)


def test_a_failed_gate_alone_is_status_1(project: Project) -> None:
    """The record agrees with itself, and says what no build would have published."""

    def fail_it(build: dict[str, list[dict[str, object]]]) -> None:
        build["gates"][0].update(written=0.99, limit=0.99, passed=False)

    edit_json(project.dist / "build.json", fail_it)
    done = project.run("verify", str(project.dist))
    assert done.returncode == Exit.GATE
    assert "error[MS502]: accuracy of cpu-int8 is 0.9375, below the limit 0.9900" in done.stderr
    flip(project.dist / "MODEL_CARD.md")
    assert project.run("verify", str(project.dist)).returncode == Exit.INTEGRITY


def test_a_changed_weight_whose_digests_agree_shows_in_the_golden_outputs(project: Project) -> None:
    model = project.dist / FP32 / "model.onnx"
    change_weight(model, first_weight(model), by=1.0)
    seal(project.dist)
    found = verified(project)
    assert [problem.code for problem in found.problems] == ["MS605"]
    assert f"the golden output 'logits' of {FP32} differs" in said(found)[0]
    assert {one.target: one.verdict for one in found.targets} == {FP32: Verdict.DIFFERENT, INT8: Verdict.EXACT}


def test_a_small_difference_counts_here_and_not_elsewhere(project: Project) -> None:
    model = project.dist / FP32 / "model.onnx"
    change_weight(model, first_weight(model), by=1e-5)
    seal(project.dist)
    found = verified(project)
    assert [problem.code for problem in found.problems] == ["MS605"]
    edit_json(project.dist / "build.json", lambda build: build["environment"].update(isa="another"))
    found = verified(project)
    assert found.problems == []
    assert next(one for one in found.targets if one.target == FP32).verdict is Verdict.WITHIN
    done = project.run("verify", str(project.dist))
    assert f"{FP32}: within tolerance, by up to" in done.stdout
    assert "(a small difference can be expected here)" in done.stdout
    assert "not the environment of the build: isa another -> " in done.stdout


def test_more_than_the_tolerance_is_too_much_anywhere(project: Project) -> None:
    model = project.dist / FP32 / "model.onnx"
    change_weight(model, first_weight(model), by=1.0)
    seal(project.dist)
    edit_json(project.dist / "build.json", lambda build: build["environment"].update(isa="another"))
    found = verified(project)
    assert [problem.code for problem in found.problems] == ["MS605"]
    assert "(rtol 0.001, atol 0.0001)" in said(found)[0]
    assert "isa another -> " in found.problems[0].why


def test_other_tool_versions_are_named_and_do_not_fail_what_is_the_same(project: Project) -> None:
    edit_json(project.dist / "build.json", lambda build: build["tools"].update(onnxruntime="1.0.0"))
    found = verified(project)
    assert found.problems == []
    assert [one.startswith("onnxruntime 1.0.0 -> ") for one in found.others] == [True]
    assert {(one.verdict, one.promised) for one in found.targets} == {(Verdict.EXACT, Verdict.WITHIN)}


def test_an_artifact_that_the_runtime_refuses(project: Project) -> None:
    import onnx

    model = project.dist / FP32 / "model.onnx"
    proto = onnx.load(model)
    proto.graph.node[0].op_type = "Nothing"
    onnx.save(proto, model)
    seal(project.dist)
    found = said(verified(project))
    assert f"MS605 {FP32} cannot be run on its golden inputs: ONNX Runtime refuses the model" in "\n".join(found)


def test_external_data_elsewhere_are_refused_as_unsafe(project: Project) -> None:
    """Sealed by whoever planted it: no digest is wrong, and nothing outside the folder may be read."""
    import onnx
    from onnx.external_data_helper import set_external_data

    model = project.dist / FP32 / "model.onnx"
    proto = onnx.load(model)
    tensor = proto.graph.initializer[0]
    (project.dist / INT8 / "secret").write_bytes(tensor.raw_data)
    set_external_data(tensor, "../../../../secret")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    onnx.save(proto, model)
    seal(project.dist)
    found = verified(project)
    assert found.error is not None
    assert found.error.exit == Exit.UNSAFE
    assert any("MS613 the external data of" in one for one in said(found))


def test_a_device_that_is_not_known_here(project: Project) -> None:
    edit_json(project.dist / FP32 / "runtime.json", lambda value: value.update(device="abacus"))
    seal(project.dist)
    assert "MS604 cpu-fp32/runtime.json names abacus at fp32, which this modelspec does not know" in said(
        verified(project)
    )


def test_a_folder_that_is_no_build_and_an_option_without_effect(project: Project) -> None:
    done = project.run("verify", "dist")
    assert (done.returncode, "MS325" in done.stderr) == (Exit.SPEC, True)
    done = project.run("verify", "dist/tiny/1.0.0", "--file", "model.yaml")
    assert done.returncode == Exit.SPEC
    assert "--file names the spec for --rebuild" in done.stderr
