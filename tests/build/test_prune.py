"""Whole builds with pruning and recovery: one spec to smaller files that passed their gate, and what is said on the way."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.build.conftest import Project

ROOT = Path(__file__).parents[2]

SPEC = """\
apiVersion: modelspec/v1
name: digits
version: "1.0.0"
source:
  framework: pytorch
  entrypoint: "model.py:build"
  weights: weights.safetensors
signature:
  inputs: {image: {dtype: float32, shape: [batch, 1, 8, 8], range: [0, 1]}}
  outputs: {logits: {dtype: float32, shape: [batch, 10]}}
data:
  train: {path: train.npz, labels: digit}
  test: {path: data/test.npz, labels: digit}
prune: {method: structured, sparsity: 0.5, round_to: 8}
finetune: {data: train, epochs: 5}
evaluate:
  data: test
  metrics: [accuracy]
  gates: [{metric: accuracy, max_drop: 0.03}]
targets: [{device: cpu}, {name: second, device: cpu}]
"""


@pytest.fixture
def digits(tmp_path: Path) -> Project:
    """The digits example, with the images that its weights were trained on."""
    from sklearn.datasets import load_digits

    folder = tmp_path / "digits"
    shutil.copytree(
        ROOT / "examples/digits", folder, ignore=shutil.ignore_patterns("__pycache__", "dist", "*.lock", "make.py")
    )
    found = load_digits()
    rows = np.random.default_rng(0).permutation(len(found.images))[450 + 256 :]
    image = (found.images[rows, None] / 16).astype(np.float32)
    np.savez(folder / "train.npz", image=image, digit=found.target[rows])
    (folder / "model.yaml").write_text(SPEC)
    return Project(folder, tmp_path / "cache")


def metrics(project: Project, label: str) -> dict[str, Any]:
    return dict(json.loads((project.folder / "dist/digits/1.0.0" / label / "metrics.json").read_text()))


def weights(project: Project, label: str) -> list[np.ndarray[Any, Any]]:
    (path,) = (project.folder / "dist/digits/1.0.0" / label).rglob("model.onnx")
    return [numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer if len(tensor.dims) > 1]


@pytest.mark.slow
def test_half_the_channels_go_and_the_gate_holds(digits: Project) -> None:
    said = digits.run("build")
    assert said.returncode == 0, said.stderr
    found = metrics(digits, "cpu-fp32")
    assert found["source"]["accuracy"] > 0.99, "of the source, which nothing was taken from"
    assert found["metrics"]["accuracy"] > 0.96
    assert found["metrics"]["size"] < 30_000
    assert found["stages"]["prune"]["layers"]["features.8"]["shape"] == [[64, 32, 3, 3], [32, 16, 3, 3]]
    assert len(found["stages"]["finetune"]["history"]) == 5
    assert max(array.shape[0] for array in weights(digits, "cpu-fp32")) == 32
    plan = json.loads(digits.run("plan", "--format", "json").stdout)
    labels = [action["label"] for action in plan["actions"]]
    assert labels.count("prune") == labels.count("finetune") == labels.count("convert") == 1
    verified = digits.run("verify", "dist/digits/1.0.0", "--rebuild")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "exact" in verified.stdout


def test_the_library_is_asked_for_only_where_it_is_used(digits: Project) -> None:
    from modelspec.build import Asked, prepare
    from modelspec.phases import packages_needed

    def needed() -> tuple[str, ...]:
        prepared = prepare(Asked(digits.spec, digits.cache))
        return packages_needed(prepared.whole, prepared.resolved.loaded.spec.source)["pytorch"]

    assert "torch-pruning" in needed()
    digits.edit("{method: structured, sparsity: 0.5, round_to: 8}", "{method: magnitude, sparsity: 0.5}")
    assert "torch-pruning" not in needed()


@pytest.mark.slow
def test_without_recovery_the_gate_fails(digits: Project) -> None:
    digits.edit("finetune: {data: train, epochs: 5}\n", "")
    digits.edit("  train: {path: train.npz, labels: digit}\n", "")
    failed = digits.run("build", "-t", "cpu-fp32")
    assert failed.returncode == 1
    assert "error[MS502]" in failed.stderr
    assert not (digits.folder / "dist").exists()


@pytest.mark.slow
def test_zeros_reach_the_published_file_and_nothing_compresses_them(digits: Project) -> None:
    digits.edit("{method: structured, sparsity: 0.5, round_to: 8}", "{method: magnitude, sparsity: 0.8}")
    digits.edit(", {name: second, device: cpu}", "")
    said = digits.run("build")
    assert said.returncode == 0, said.stderr
    assert "warning[MS558]: the zeros make the model neither smaller nor faster: nothing compresses it" in said.stderr
    found = weights(digits, "cpu-fp32")
    total = sum(array.size for array in found)
    assert sum(int((array == 0).sum()) for array in found) == round(0.8 * total)
    assert "MS558" in digits.run("build").stderr, "it is said again when nothing runs"
    checked = digits.run("validate")
    assert checked.returncode == 0
    assert "warning[MS558]" in checked.stdout
    assert "1 warning" in checked.stderr
    digits.edit("evaluate:", "package: {compression: gzip}\nevaluate:")
    packed = digits.run("build")
    assert packed.returncode == 0, packed.stderr
    assert "MS558" not in packed.stderr
    found = metrics(digits, "cpu-fp32")["metrics"]
    assert found["size"] < 0.4 * found["unpacked_size"]


@pytest.mark.slow
def test_an_onnx_source_is_pruned_after_it_is_folded(project: Project) -> None:
    project.edit("quantize:\n", "prune: {method: magnitude, sparsity: 0.25}\nquantize:\n")
    project.edit("max_drop: 0.1", "max_drop: 0.5")
    said = project.run("build")
    assert said.returncode == 0, said.stderr
    details = json.loads((project.dist / "cpu-fp32" / "metrics.json").read_text())["stages"]["prune"]
    assert sum(layer["parameters"][1] for layer in details["layers"].values()) == round(0.75 * (16 * 64 + 64 * 4))


@pytest.mark.slow
def test_what_reruns_when_training_changes(digits: Project) -> None:
    digits.edit(", {name: second, device: cpu}", "")
    digits.edit("epochs: 5", "epochs: 1")
    digits.edit("max_drop: 0.03", "max_drop: 0.9")
    assert digits.run("build").returncode == 0
    digits.edit("epochs: 1", "epochs: 1, threads: 2")
    plan = digits.run("plan").stdout
    assert "finetune.threads 1 -> 2 (model.yaml:15)" in plan
    states = {a["label"]: a["state"] for a in json.loads(digits.run("plan", "--format", "json").stdout)["actions"]}
    assert (states["prune"], states["reference:test"], states["finetune"]) == ("cached", "cached", "run")
    digits.edit("  train: {path", "  learn: {path")
    digits.edit("{data: train, epochs: 1, threads: 2}", "{data: learn, epochs: 1}")
    states = {a["label"]: a["state"] for a in json.loads(digits.run("plan", "--format", "json").stdout)["actions"]}
    assert set(states.values()) == {"cached"}, "the name of a data set changes nothing"
