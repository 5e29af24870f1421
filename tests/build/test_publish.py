"""What is published, when, and what is left alone."""

import json
import subprocess

import numpy as np
import onnxruntime

from modelspec import digest
from tests.build.conftest import Project


def test_the_published_files(project: Project) -> None:
    project.build()
    assert {"MODEL_CARD.md", "build.json", "checksums.txt"} < set(project.tree())
    for target in ("cpu-int8", "cpu-fp32"):
        names = {path.removeprefix(f"{target}/") for path in project.tree() if path.startswith(target)}
        assert names == {
            "model.onnx", "signature.json", "runtime.json", "metrics.json", "golden/inputs.npz", "golden/outputs.npz",
        }  # fmt: skip
    subprocess.run(["sha256sum", "--check", "--strict", "checksums.txt"], cwd=project.dist, check=True)


def test_the_golden_outputs_come_from_the_published_model(project: Project) -> None:
    project.build()
    for target in ("cpu-int8", "cpu-fp32"):
        folder = project.dist / target
        inputs, expected = (dict(np.load(folder / "golden" / f"{side}.npz")) for side in ("inputs", "outputs"))
        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
        found = dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))
        assert found.keys() == expected.keys()
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)


def test_a_failed_gate_changes_nothing_and_says_value_limit_and_line(project: Project) -> None:
    project.build()
    before = project.tree()
    project.edit("{metric: accuracy, min: 0.5, max_drop: 0.1}", "{metric: accuracy, min: 1.01}")
    said = project.build(exits=1)
    assert "MS502" in said
    assert "below the limit 1.01" in said
    assert "model.yaml:15:" in said
    assert project.tree() == before


def test_the_default_gate_holds_without_being_written(project: Project) -> None:
    project.edit("    - {metric: accuracy, min: 0.5, max_drop: 0.1}\n", "")
    said = project.build(exits=1)
    assert "accuracy of cpu-int8" in said
    assert "(the default gate)" in said


def test_a_failed_stage_publishes_nothing_and_keeps_what_was_finished(project: Project) -> None:
    project.edit("ranges: minmax", "ranges: minmax, exclude: [no-such-node]")
    said = project.build(exits=3)
    assert "MS512" in said
    assert "model.yaml:9:" in said
    assert not project.dist.exists()
    project.edit(", exclude: [no-such-node]", "")
    project.build()
    actions = json.loads((project.dist / "build.json").read_text())["actions"]
    assert {a["state"] for a in actions if a["stage"] == "convert"} == {"cached"}


def test_a_touched_published_file_is_put_right(project: Project) -> None:
    project.build()
    model = project.dist / "cpu-int8" / "model.onnx"
    good = model.read_bytes()
    model.write_bytes(good[:-1] + b"\x00")
    assert "wrote" in project.build()
    assert model.read_bytes() == good
    (project.dist / "stray.txt").write_text("left here")
    project.build()
    assert not (project.dist / "stray.txt").exists()


def test_the_same_version_with_other_content_says_so(project: Project) -> None:
    project.build()
    project.edit("ranges: minmax", "ranges: minmax, per_channel: false")
    assert "raise `version`" in project.build()


def test_the_card_holds_the_figures_of_the_build(project: Project) -> None:
    project.build()
    card = (project.dist / "MODEL_CARD.md").read_text()
    accuracy = json.loads((project.dist / "cpu-int8" / "metrics.json").read_text())["metrics"]["accuracy"]
    assert f"{accuracy:.4f}" in card


def test_a_published_file_that_was_changed_with_its_digests_is_written_anew(project: Project) -> None:
    """Whoever edits a model can edit checksums.txt and build.json as well; the records of the cache say otherwise."""
    project.build()
    before = project.tree()
    model = project.dist / "cpu-fp32" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    sums = (project.dist / "checksums.txt").read_text()
    sums = sums.replace(digest.of_bytes(before["cpu-fp32/model.onnx"]), digest.of_file(model))
    (project.dist / "checksums.txt").write_text(sums)
    build = json.loads((project.dist / "build.json").read_text())
    build["checksums"] = digest.of_bytes(sums.encode())
    (project.dist / "build.json").write_text(json.dumps(build))
    assert "replaced" in project.build()
    assert project.tree()["cpu-fp32/model.onnx"] == before["cpu-fp32/model.onnx"]
