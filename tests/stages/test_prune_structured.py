"""Structured pruning: layers that depend on each other shrink together, to counts that run fast; outputs stay."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modelspec.errors import Diagnostic, ModelspecError
from modelspec.formats import safetensors_file
from modelspec.stage import Job
from modelspec.stages._prune_options import Structured
from modelspec.stages.prune import Prune
from tests.stages import modules, nets


def prune(run_stage: Any, tmp_path: Path, net: str, **options: Any) -> Job:
    stage = Prune(method=Structured(method="structured", **{"round_to": 8, **options}))
    return modules.work(run_stage, tmp_path, stage, net)


def outputs(job: Job) -> dict[str, int]:
    """The number of outputs of each layer afterwards."""
    return {name: layer["shape"][1][0] for name, layer in modules.report(job)["layers"].items()}


def refused(*arguments: Any, **options: Any) -> Diagnostic:
    with pytest.raises(ModelspecError) as caught:
        prune(*arguments, **options)
    (problem,) = caught.value.diagnostics
    return problem


@pytest.mark.parametrize(("net", "expected"), [
    ("Plain", {"first": 8, "second": 16, "head": 10}),
    ("Resnet", {"stem": 8, "a.conv1": 8, "a.conv2": 8, "b.conv1": 16, "b.conv2": 16, "b.skip": 16, "depthwise": 16,
                "pointwise": 24, "head": 10}),
    ("Transformer", {"embed": 32, "attention.qkv": 96, "attention.out": 32, "fc1": 32, "fc2": 32, "head": 10}),
    ("Torchs", {"embed": 16, "attention": 48, "attention.out_proj": 16, "fc1": 32, "fc2": 16, "head": 10}),
    ("Tied", {"body": 16, "one": 16, "head": 10, "score": 1}),
])  # fmt: skip
def test_half_of_what_can_go_goes(run_stage: Any, tmp_path: Path, net: str, expected: dict[str, int]) -> None:
    job = prune(run_stage, tmp_path, net, sparsity=0.5)
    assert outputs(job) == expected
    module = modules.revived(job)
    assert np.isfinite(modules.answers(module)).all()
    said = modules.report(job)
    assert said["parameters"][1] == sum(p.numel() for p in module.parameters())
    assert said["flops"][1] < said["flops"][0]


def test_the_record_counts_what_it_was_and_is(run_stage: Any, tmp_path: Path) -> None:
    said = modules.report(prune(run_stage, tmp_path, "Plain", sparsity=0.5))
    pixels = 64
    assert said["layers"]["second"] == {
        "shape": [[32, 16, 3, 3], [16, 8, 3, 3]],
        "parameters": [32 * 16 * 9 + 32, 16 * 8 * 9 + 16],
        "flops": [2 * 32 * 16 * 9 * pixels, 2 * 16 * 8 * 9 * pixels],
    }
    assert said["layers"]["head"]["kept"] == "it makes the model's outputs"
    assert said["parameters"][0] == sum(parameter.numel() for parameter in nets.Plain().parameters())


def test_what_is_removed_counts_least(run_stage: Any, tmp_path: Path) -> None:
    """Channels whose weights are nothing change nothing when they go."""
    code = modules.code(tmp_path) / "nets.py"
    code.write_text(
        code.read_text()
        + "\n\ndef hollow():\n    net = Plain()\n    with torch.no_grad():\n"
        + "        for layer in (net.first, net.second):\n            layer.weight[1::2] = 0\n            layer.bias[1::2] = 0\n"
        + "    return net\n"
    )
    job = prune(run_stage, tmp_path, "hollow", sparsity=0.5)
    recipe = json.loads((job.output("changes") / "changes.json").read_text())
    assert recipe["removed"]["first"] == list(range(1, 16, 2))
    assert job.framework is not None
    expected = modules.answers(job.framework.load(job.files))
    np.testing.assert_allclose(modules.answers(modules.revived(job)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("share", "round_to", "kept"), [(0.1, 1, 14), (0.3, 8, 8), (0.25, 8, 16), (0.9, 8, 8), (0.9, 1, 2)]
)
def test_counts_are_rounded_to_the_nearest_multiple(
    run_stage: Any, tmp_path: Path, share: float, round_to: int, kept: int
) -> None:
    job = prune(
        run_stage, tmp_path, "Plain", sparsity=0.5, layers={"first": share} if kept < 16 else {}, round_to=round_to
    )
    if kept < 16:
        assert outputs(job)["first"] == kept
    else:
        (tmp_path / "again").mkdir()
        assert refused(run_stage, tmp_path / "again", "Plain", layers={"first": share}).code == "MS530"


def test_excluded_layers_keep_their_outputs_with_those_they_are_added_to(run_stage: Any, tmp_path: Path) -> None:
    job = prune(run_stage, tmp_path, "Resnet", sparsity=0.5, exclude=("stem", "b"))
    assert outputs(job) == {"stem": 16, "a.conv1": 8, "a.conv2": 16, "b.conv1": 32, "b.conv2": 32, "b.skip": 32,
                            "depthwise": 32, "pointwise": 24, "head": 10}  # fmt: skip
    layers = modules.report(job)["layers"]
    assert layers["a.conv2"]["kept"] == "it is as wide as stem, which is excluded"
    assert layers["b.conv1"]["kept"] == "excluded"


def test_heads_of_an_attention_are_not_mixed(run_stage: Any, tmp_path: Path) -> None:
    """Half of 96 outputs would run: as two heads of other pieces."""
    code = modules.code(tmp_path) / "nets.py"
    code.write_text(
        code.read_text().replace("size // 4).permute", "-1).permute").replace("steps, size))", "steps, -1))")
    )
    layers = modules.report(prune(run_stage, tmp_path, "Transformer", sparsity=0.5))["layers"]
    assert layers["attention.qkv"]["shape"][1][0] == 96
    assert layers["attention.qkv"]["kept"] == "the outputs of attention.qkv are split into parts, such as heads"


def test_a_share_for_each_layer(run_stage: Any, tmp_path: Path) -> None:
    job = prune(run_stage, tmp_path, "Plain", layers={"sec*": 0.75})
    assert outputs(job) == {"first": 16, "second": 8, "head": 10}
    assert modules.report(job)["layers"]["first"]["kept"] == "no share is given for it"


@pytest.mark.parametrize(("net", "options", "code", "path", "text"), [
    ("Plain", {"sparsity": 0.5, "exclude": ("haed",)}, "MS531", ("exclude", 0), "no layer that can be pruned is named 'haed'"),
    ("Plain", {"layers": {"norm": 0.5}}, "MS531", ("layers", "norm"), "no layer that can be pruned is named 'norm'"),
    ("Plain", {"layers": {"*": 0.5, "first": 0.25}}, "MS532", ("layers", "*"), "to lose 0.25 by 'first' and 0.5 by '*'"),
    ("Plain", {"sparsity": 0.5, "layers": {"head": 0.5}}, "MS530", ("layers", "head"), "it makes the model's outputs"),
    ("Plain", {"sparsity": 0.5, "layers": {"*": 0.5}}, "MS530", ("sparsity",), "'layers' names every layer"),
    ("Plain", {"sparsity": 0.1}, "MS530", (), "rounded to a multiple of 8, as many outputs as before remain"),
    ("Resnet", {"layers": {"stem": 0.5, "a.conv2": 0.25}, "round_to": 1}, "MS532", ("layers",), "must have as many outputs"),
])  # fmt: skip
def test_refusals(
    run_stage: Any, tmp_path: Path, net: str, options: dict[str, Any], code: str, path: tuple[Any, ...], text: str
) -> None:
    problem = refused(run_stage, tmp_path, net, **options)
    assert (problem.code, problem.path) == (code, path)
    assert text in problem.message


def test_a_misspelt_name_is_told(run_stage: Any, tmp_path: Path) -> None:
    assert refused(run_stage, tmp_path, "Plain", sparsity=0.5, exclude=("haed",)).help == "did you mean 'head'?"


def test_a_matrix_of_two_layers_becomes_two_where_they_lose_different_things(run_stage: Any, tmp_path: Path) -> None:
    job = prune(run_stage, tmp_path, "Tied", layers={"one": 0.5, "two": 0.25})
    written = safetensors_file.read(job.output("changes") / "weights.safetensors")
    found = modules.revived(job).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in found.items() if name in {"one.weight", "two.weight"}} == {
        "one.weight": (16, 32), "two.weight": (24, 16),
    }  # fmt: skip
    assert all(torch.equal(found[name], tensor) for name, tensor in written.items())


def test_frozen_layers_are_pruned_too(run_stage: Any, tmp_path: Path) -> None:
    code = modules.code(tmp_path) / "nets.py"
    code.write_text(code.read_text() + "\n\ndef frozen():\n    return Plain().requires_grad_(False)\n")
    assert outputs(prune(run_stage, tmp_path, "frozen", sparsity=0.5))["second"] == 16


SCRIPT = """
import sys; from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[1]) / "in" / "code"))
from modelspec.stage import Job
from modelspec.stages.prune import Prune
from modelspec.stages._prune_options import Structured
from tests.stages.modules import IMAGE, source
stage = Prune(method=Structured(method="structured", sparsity=0.5, round_to=8))
stage.run(Job(Path(sys.argv[1]), IMAGE, source("Resnet")))
"""


def test_the_bytes_depend_on_no_process(tmp_path: Path) -> None:
    made = []
    for seed in ("1", "2"):
        modules.code(tmp_path / seed / "in")
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": seed}
        subprocess.run(
            [sys.executable, "-c", SCRIPT, tmp_path / seed], check=True, env=environment, capture_output=True
        )
        folder = tmp_path / seed / "out"
        made.append({path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()})
    assert len(made[0]) == 3
    assert made[0] == made[1]


def test_a_module_that_hides_its_gradients_is_refused(run_stage: Any, tmp_path: Path) -> None:
    code = modules.code(tmp_path) / "nets.py"
    hidden = "\n\nclass Hidden(Plain):\n    @torch.no_grad()\n    def forward(self, image):\n        return super().forward(image)\n"
    code.write_text(code.read_text() + hidden)
    assert refused(run_stage, tmp_path, "Hidden", sparsity=0.5).code == "MS533"
    assert torch.is_grad_enabled()
