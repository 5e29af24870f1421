"""Training: it recovers what pruning took, keeps zeros, stops in time, and gives the same bytes again."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modelspec.formats import safetensors_file
from modelspec.stage import Job
from modelspec.stages._finetune_options import EarlyStopping
from modelspec.stages._prune_options import Magnitude, Structured, TwoFour
from modelspec.stages.prune import Prune
from tests.stages import graphs, modules

NETS = modules.NETS.read_text()


def accuracy(job: Job) -> float:
    _, _, image, digit = modules.digits()
    with torch.no_grad():
        answers = modules.revived(job)(torch.from_numpy(image)).argmax(1).numpy()
    return float((answers == digit).mean())


@pytest.mark.parametrize("method", [
    Structured(method="structured", sparsity=0.5, round_to=8),
    Magnitude(method="magnitude", sparsity=0.8),
    TwoFour(method="2:4"),
])  # fmt: skip
def test_accuracy_comes_back_and_zeros_stay(run_stage: Any, tmp_path: Path, train: Path, method: Any) -> None:
    first = modules.finetune(run_stage, tmp_path, "Resnet", train, epochs=4)
    before = accuracy(first)
    assert before > 0.93
    safetensors_file.write(modules.weights(first), tmp_path / "code" / "trained.safetensors")
    (tmp_path / "code" / "nets.py").write_text(
        NETS + "\n\ndef trained():\n    from pathlib import Path\n    from safetensors.torch import load_file\n"
        "    net = Resnet()\n    net.load_state_dict(load_file(Path(__file__).with_name('trained.safetensors')))\n    return net\n"
    )
    pruned = modules.work(run_stage, tmp_path, Prune(method=method), "trained")
    assert accuracy(pruned) < before
    after = modules.finetune(
        run_stage, tmp_path, "trained", train, more={"changes": pruned.output("changes")}, epochs=4, weight_decay=0.01
    )
    assert accuracy(after) > before - 0.03
    lean, found = modules.weights(pruned), modules.weights(after)
    assert {name: tensor.shape for name, tensor in found.items()} == {n: t.shape for n, t in lean.items()}
    if not isinstance(method, Structured):
        kernels = [name for name, tensor in lean.items() if tensor.ndim > 1]
        assert all(torch.equal(found[name] == 0, lean[name] == 0) for name in kernels)
    history = modules.report(after)["history"]
    assert history[-1]["loss"] < history[0]["loss"]
    assert len(history) == modules.report(after)["best_epoch"] == 4


def test_without_pruning_it_is_allowed(run_stage: Any, tmp_path: Path, train: Path) -> None:
    job = modules.finetune(run_stage, tmp_path, "Resnet", train, epochs=2)
    assert accuracy(job) > 0.9
    assert modules.report(job)["loss"] == "cross_entropy"
    assert modules.report(job)["samples"] == 1200


def test_progress_goes_to_the_log(
    run_stage: Any, tmp_path: Path, few: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    modules.finetune(run_stage, tmp_path, "Plain", few, epochs=2, early_stopping=EarlyStopping(holdout=0.2))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert "loss" in lines[0]
    assert "watched accuracy" in lines[0]


def test_the_best_weights_are_kept(run_stage: Any, tmp_path: Path, few: Path) -> None:
    """Steps far too large make it worse and worse: the first epoch, or so, is the best."""
    stopping = EarlyStopping(patience=2, holdout=0.3)
    options: dict[str, Any] = {"optimizer": "adam", "learning_rate": 0.3, "schedule": "constant", "batch_size": 8}
    job = modules.finetune(run_stage, tmp_path, "Plain", few, epochs=40, early_stopping=stopping, **options)
    said = modules.report(job)
    losses = [epoch["watched_loss"] for epoch in said["history"]]
    assert len(losses) < 40, "it ended before its time"
    assert said["best_epoch"] == len(losses) - 2 == int(np.argmin(losses)) + 1
    (tmp_path / "again").mkdir()
    again = modules.finetune(
        run_stage, tmp_path / "again", "Plain", few, epochs=said["best_epoch"], early_stopping=stopping, **options
    )
    assert all(torch.equal(tensor, modules.weights(again)[name]) for name, tensor in modules.weights(job).items())


def test_another_set_can_be_watched(run_stage: Any, tmp_path: Path, few: Path) -> None:
    image, digit, *_ = modules.digits()
    watched = graphs.data(tmp_path / "watched", "digit", image=image[200:230], digit=digit[200:230])
    job = modules.finetune(run_stage, tmp_path, "Plain", few, epochs=1, more={"validation": watched},
                   early_stopping=EarlyStopping(data="validation"))  # fmt: skip
    assert modules.report(job)["samples"] == 97
    assert "watched_loss" in modules.report(job)["history"][0]


TRAINER = """

def recover(module, inputs, labels, options, factor):
    assert sorted(options) == ["batch_size", "epochs", "learning_rate", "seed", "threads", "weight_decay"]
    assert inputs["image"].shape == (97, 1, 8, 8) and labels.shape == (97,) and module.training
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(factor).add_(options["learning_rate"])


def other(module, inputs, labels, options):
    return Plain(32)


def broken(module, inputs, labels, options):
    raise ValueError("no luck")
"""


def test_a_trainer_replaces_the_loop(run_stage: Any, tmp_path: Path, few: Path) -> None:
    (modules.code(tmp_path) / "nets.py").write_text(NETS + TRAINER)
    pruned = modules.work(run_stage, tmp_path, Prune(method=Magnitude(method="magnitude", sparsity=0.5)), "Plain")
    changes = {"changes": pruned.output("changes")}
    job = modules.finetune(run_stage, tmp_path, "Plain", few, more=changes, trainer="nets.py:recover", params={"factor": 2},
                   learning_rate=0.5)  # fmt: skip
    before, after = modules.weights(pruned)["head.weight"], modules.weights(job)["head.weight"]
    assert torch.equal(after, torch.where(before == 0, 0, before * 2 + 0.5)), "the trainer's work, but for the zeros"
    problem = modules.untrained(run_stage, tmp_path, "Plain", few, trainer="nets.py:other")
    assert (problem.code, problem.path) == ("MS534", ("trainer",))
    problem = modules.untrained(run_stage, tmp_path, "Plain", few, trainer="nets.py:broken")
    assert (problem.code, problem.message.partition(": ")[2]) == ("MS517", "ValueError: no luck")
    assert modules.untrained(run_stage, tmp_path, "Plain", few, trainer="nets.py:recover").code == "MS517"


SCRIPT = """
import sys; from pathlib import Path
root = Path(sys.argv[1]); sys.path.insert(0, str(root / "in" / "code"))
from modelspec.stage import Job
from modelspec.stages._finetune_options import Augment, EarlyStopping
from modelspec.stages.finetune import Finetune
from tests.stages.modules import IMAGE, source
stage = Finetune(data="train", epochs=3, resample="balanced", augment=Augment(noise=0.1, flip=("horizontal",), shift=1),
                 early_stopping=EarlyStopping())
stage.run(Job(root, IMAGE, source("Resnet")))
"""


def test_the_bytes_depend_on_no_process(tmp_path: Path, few: Path) -> None:
    import shutil

    made = []
    for seed in ("1", "2"):
        root = tmp_path / seed
        modules.code(root / "in")
        shutil.copytree(few, root / "in" / "data")
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": seed}
        subprocess.run([sys.executable, "-c", SCRIPT, root], check=True, env=environment, capture_output=True)
        made.append({path.name: path.read_bytes() for path in sorted((root / "out").rglob("*")) if path.is_file()})
    assert len(made[0]) == 3
    assert made[0] == made[1]
