"""What runs again, and what it says about it."""

import json

from tests.build.conftest import Project, write_model


def states(project: Project) -> dict[str, str]:
    plan = project.run("plan", "--format", "json")
    assert plan.returncode == 0, plan.stderr
    return {action["label"]: action["state"] for action in json.loads(plan.stdout)["actions"]}


def test_a_second_build_runs_nothing_and_says_so(project: Project) -> None:
    project.build()
    before = {path: path.stat().st_mtime_ns for path in project.dist.rglob("*")}
    assert "nothing to do" in project.build()
    assert {path: path.stat().st_mtime_ns for path in project.dist.rglob("*")} == before
    assert set(states(project).values()) == {"cached"}


def test_one_changed_option_reruns_what_depends_on_it_and_is_named(project: Project) -> None:
    project.build()
    project.edit("ranges: minmax", "ranges: entropy")
    said = project.run("plan").stdout
    assert 'quantize.int8.ranges "minmax" -> "entropy" (model.yaml:9)' in said
    again = {label for label, state in states(project).items() if state != "cached"}
    assert all(not label.startswith(("load", "sample", "convert", "reference")) for label in again)
    assert any(label.startswith("quantize") for label in again)
    assert not any("cpu-fp32" in label for label in again)


def test_changing_a_limit_runs_nothing(project: Project) -> None:
    project.build()
    project.edit("min: 0.5", "min: 0.6")
    said = project.build()
    assert "(0 ran" in said
    assert json.loads((project.dist / "build.json").read_text())["gates"][0]["limit"] == 0.6


def test_a_rebuilt_stage_with_the_same_bytes_stops_the_wave(project: Project) -> None:
    project.build()
    project.edit("{path: calibration.npz}", "{path: calibration.npz, samples: 64}")
    said = project.build()
    assert "(1 ran" in said


def test_another_model_reruns_and_names_the_file(project: Project) -> None:
    project.build()
    write_model(project.folder / "model.onnx", seed=3)
    assert "file model.onnx changed" in project.run("plan").stdout


def test_no_cache_reruns_one_stage(project: Project) -> None:
    project.build()
    said = project.build("--no-cache", "convert")
    assert "(1 ran" in said


def test_exit_code_tells_whether_there_is_work(project: Project) -> None:
    assert project.run("plan", "--exit-code").returncode == 20
    project.build()
    assert project.run("plan", "--exit-code").returncode == 0


def test_until_publishes_nothing(project: Project) -> None:
    assert "nothing is published" in project.build("--until", "convert")
    assert not project.dist.exists()
    assert "sample" in str(states(project))


def test_an_unknown_stage_or_target_is_refused(project: Project) -> None:
    assert "MS325" in project.build("--until", "compress", exits=2)
    assert "MS308" in project.build("--target", "gpu", exits=2)


def test_one_target_keeps_the_others_while_they_are_right(project: Project) -> None:
    project.build()
    assert "kept  cpu-fp32" in project.build("--target", "cpu-int8")
    assert (project.dist / "cpu-fp32" / "model.onnx").is_file()
    write_model(project.folder / "model.onnx", seed=3)
    said = project.build("--target", "cpu-int8", exits=1)
    assert "MS502" in said
    project.edit("min: 0.5, max_drop: 0.1", "min: 0, max_drop: 1")
    said = project.build("--target", "cpu-int8")
    assert "dropped  cpu-fp32" in said
    assert not (project.dist / "cpu-fp32").exists()


def test_why_shows_the_whole_difference(project: Project) -> None:
    project.build()
    project.edit("ranges: minmax", "ranges: entropy, per_channel: false")
    said = project.run("plan", "--why", "quantize").stdout
    assert 'quantize.int8.ranges "minmax" -> "entropy" (model.yaml:9)\n    - "minmax"\n    + "entropy"' in said
    assert "per_channel true -> false" in said
    found = json.loads(project.run("plan", "--why", "quantize", "--format", "json").stdout)["actions"]
    leaves = sorted(change["leaf"] for change in found[0]["changes"])
    assert leaves == [["options", "per_channel"], ["options", "ranges"]]
    assert "nothing that can change its result has changed" in project.run("plan", "--why", "convert").stdout
    assert project.run("plan", "--why", "nothing").returncode == 2
