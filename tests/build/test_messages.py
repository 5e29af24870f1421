"""What a failed build shows: the line at fault, or one nearby that is written, and a log that holds the whole cause."""

from pathlib import Path

import numpy as np

from tests.build.conftest import Project
from tests.stages import graphs


def test_the_log_holds_the_cause_of_a_refusal(project: Project) -> None:
    (project.folder / "model.onnx").write_bytes(b"not a protobuf")
    said = project.build("--progress", "none", exits=3)
    assert "MS504" in said
    log = Path(said.split("log of convert: ")[1].splitlines()[0])
    assert "DecodeError" in log.read_text()


def test_a_signature_that_disagrees_is_shown(project: Project) -> None:
    project.edit("targets:", "signature: {inputs: {y: {dtype: float32, shape: [batch, 16]}}}\ntargets:")
    assert "signature: {inputs: {y:" in project.build("--progress", "none", exits=3)


def test_an_option_of_a_block_that_is_not_written_shows_the_target(project: Project) -> None:
    """Not the first line of the file, which has nothing to do with it."""
    (graphs.conv(project.folder / "made") / "model.onnx").replace(project.folder / "model.onnx")
    head, _, _ = project.spec.read_text().partition("data:")
    project.spec.write_text(head + "targets: [{device: cpu, precision: int8}]\n")
    said = project.build("--progress", "none", exits=3)
    assert "MS522" in said
    assert "targets: [{device: cpu, precision: int8}]" in said


def test_data_that_does_not_fit_is_shown(project: Project) -> None:
    np.savez(project.folder / "test.npz", x=np.zeros((5, 3)), y=np.zeros(5))
    said = project.build("--progress", "none", exits=3)
    assert "MS508" in said
    assert "test: {path: test.npz, labels: y}" in said


def test_a_failed_gate_comes_with_the_warnings(project: Project) -> None:
    """They may say why: here, that the data has a missing value."""
    x = np.load(project.folder / "test.npz")["x"]
    x[3, 2] = np.nan
    np.savez(project.folder / "test.npz", x=x, y=np.zeros(len(x)))
    said = project.build("--progress", "none", exits=1)
    assert "MS502" in said
    assert "warning[MS555]: 1 of 64 answers in 'logits' are no numbers" in said
