"""Training: it recovers what pruning took, keeps zeros, stops in time, and gives the same bytes again."""

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
from modelspec.stages._finetune_options import Augment, EarlyStopping
from modelspec.stages._prune_options import Magnitude, Structured, TwoFour
from modelspec.stages.finetune import Finetune
from modelspec.stages.prune import Prune
from tests.stages import graphs, modules

Array = np.ndarray[Any, Any]
NETS = modules.NETS.read_text()


def digits() -> tuple[Array, Array, Array, Array]:
    """Images and digits to train on, and others to judge by."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.images))
    image = (found.images[order, None] / 16).astype(np.float32)
    return image[:1200], found.target[order][:1200], image[1200:], found.target[order][1200:]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image, digit, *_ = digits()
    return graphs.data(tmp_path_factory.mktemp("train") / "set", "digit", image=image, digit=digit)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough to see that something happens."""
    image, digit, *_ = digits()
    return graphs.data(tmp_path_factory.mktemp("few") / "set", "digit", image=image[:97], digit=digit[:97])


def finetune(run_stage: Any, tmp_path: Path, net: str, data: Path, *, more: dict[str, Path] | None = None,
             **options: Any) -> Job:  # fmt: skip
    stage = Finetune(data="train", **options)
    return modules.work(run_stage, tmp_path, stage, net, data=data, **(more or {}))


def refused(*arguments: Any, **options: Any) -> Diagnostic:
    with pytest.raises(ModelspecError) as caught:
        finetune(*arguments, **options)
    (problem,) = caught.value.diagnostics
    return problem


def weights(job: Job) -> dict[str, torch.Tensor]:
    return safetensors_file.read(job.output("changes") / "weights.safetensors")


def accuracy(job: Job) -> float:
    _, _, image, digit = digits()
    with torch.no_grad():
        answers = modules.revived(job)(torch.from_numpy(image)).argmax(1).numpy()
    return float((answers == digit).mean())


@pytest.mark.parametrize("method", [
    Structured(method="structured", sparsity=0.5),
    Magnitude(method="magnitude", sparsity=0.8),
    TwoFour(method="2:4"),
])  # fmt: skip
def test_accuracy_comes_back_and_zeros_stay(run_stage: Any, tmp_path: Path, train: Path, method: Any) -> None:
    first = finetune(run_stage, tmp_path, "Resnet", train, epochs=4)
    before = accuracy(first)
    assert before > 0.93
    safetensors_file.write(weights(first), tmp_path / "code" / "trained.safetensors")
    (tmp_path / "code" / "nets.py").write_text(
        NETS + "\n\ndef trained():\n    from pathlib import Path\n    from safetensors.torch import load_file\n"
        "    net = Resnet()\n    net.load_state_dict(load_file(Path(__file__).with_name('trained.safetensors')))\n    return net\n"
    )
    pruned = modules.work(run_stage, tmp_path, Prune(method=method), "trained")
    assert accuracy(pruned) < before
    after = finetune(
        run_stage, tmp_path, "trained", train, more={"changes": pruned.output("changes")}, epochs=4, weight_decay=0.01
    )
    assert accuracy(after) > before - 0.03
    lean, found = weights(pruned), weights(after)
    assert {name: tensor.shape for name, tensor in found.items()} == {n: t.shape for n, t in lean.items()}
    if not isinstance(method, Structured):
        kernels = [name for name, tensor in lean.items() if tensor.ndim > 1]
        assert all(torch.equal(found[name] == 0, lean[name] == 0) for name in kernels)
    history = modules.report(after)["history"]
    assert history[-1]["loss"] < history[0]["loss"]
    assert len(history) == modules.report(after)["best_epoch"] == 4


def test_without_pruning_it_is_allowed(run_stage: Any, tmp_path: Path, train: Path) -> None:
    job = finetune(run_stage, tmp_path, "Resnet", train, epochs=2)
    assert accuracy(job) > 0.9
    assert modules.report(job)["loss"] == "cross_entropy"
    assert modules.report(job)["samples"] == 1200


def test_progress_goes_to_the_log(
    run_stage: Any, tmp_path: Path, few: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finetune(run_stage, tmp_path, "Plain", few, epochs=2, early_stopping=EarlyStopping(holdout=0.2))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert "loss" in lines[0]
    assert "watched accuracy" in lines[0]


def test_the_best_weights_are_kept(run_stage: Any, tmp_path: Path, few: Path) -> None:
    """Steps far too large make it worse and worse: the first epoch, or so, is the best."""
    stopping = EarlyStopping(patience=2, holdout=0.3)
    options: dict[str, Any] = {"optimizer": "adam", "learning_rate": 0.3, "schedule": "constant", "batch_size": 8}
    job = finetune(run_stage, tmp_path, "Plain", few, epochs=40, early_stopping=stopping, **options)
    said = modules.report(job)
    losses = [epoch["watched_loss"] for epoch in said["history"]]
    assert len(losses) < 40, "it ended before its time"
    assert said["best_epoch"] == len(losses) - 2 == int(np.argmin(losses)) + 1
    (tmp_path / "again").mkdir()
    again = finetune(
        run_stage, tmp_path / "again", "Plain", few, epochs=said["best_epoch"], early_stopping=stopping, **options
    )
    assert all(torch.equal(tensor, weights(again)[name]) for name, tensor in weights(job).items())


def test_another_set_can_be_watched(run_stage: Any, tmp_path: Path, few: Path) -> None:
    image, digit, *_ = digits()
    watched = graphs.data(tmp_path / "watched", "digit", image=image[200:230], digit=digit[200:230])
    job = finetune(run_stage, tmp_path, "Plain", few, epochs=1, more={"validation": watched},
                   early_stopping=EarlyStopping(data="validation"))  # fmt: skip
    assert modules.report(job)["samples"] == 97
    assert "watched_loss" in modules.report(job)["history"][0]


@pytest.mark.parametrize("options", [
    {"seed": 1},
    {"threads": 2, "batch_size": 97},
    {"optimizer": "sgd"}, {"optimizer": "adam", "weight_decay": 0.1},
    {"schedule": "constant"},
    {"l1": 0.01},
    {"loss": "mse"},
    {"class_weights": "balanced"}, {"class_weights": tuple(range(1, 11))},
    {"resample": "balanced"},
    {"augment": Augment(noise=0.1)}, {"augment": Augment(flip=("horizontal",))}, {"augment": Augment(flip=("vertical",))},
    {"augment": Augment(shift=1)},
    {"loss": "source"},
])  # fmt: skip
def test_every_option_has_an_effect(run_stage: Any, tmp_path: Path, few: Path, options: dict[str, Any]) -> None:
    if options.get("loss") == "mse":
        image, digit, *_ = digits()
        few = graphs.data(tmp_path / "hot", "hot", image=image[:97], hot=np.eye(10, dtype=np.float32)[digit[:97]])
    plain = {"batch_size": options["batch_size"]} if "batch_size" in options else {}
    a = weights(
        finetune(
            run_stage, tmp_path, "Plain", few, epochs=2, **plain | ({"loss": "huber"} if "hot" in str(few) else {})
        )
    )
    b = weights(finetune(run_stage, tmp_path, "Plain", few, epochs=2, **options))
    assert all(tensor.isfinite().all() for tensor in b.values())
    different = not all(torch.equal(a[name], b[name]) for name in a)
    assert different or "threads" in options, "on some machines two threads give the same bits"


def test_dropout_is_set_on_the_layers_there_are(run_stage: Any, tmp_path: Path, few: Path) -> None:
    (modules.code(tmp_path) / "nets.py").write_text(
        NETS + "\n\ndef dropping():\n    return nn.Sequential(nn.Flatten(), nn.Dropout(0.0), nn.Linear(64, 10))\n"
    )
    a, b, c = (
        weights(finetune(run_stage, tmp_path, "dropping", few, epochs=1, dropout=p))["2.weight"]
        for p in (None, 0.0, 0.5)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert refused(run_stage, tmp_path, "Plain", few, dropout=0.5).path == ("dropout",)


def test_rare_classes_are_seen_as_often(run_stage: Any, tmp_path: Path) -> None:
    """Of two classes one in twenty: without help the rare one is seldom answered."""
    random = np.random.default_rng(0)
    label = (np.arange(400) % 20 == 0).astype(np.int64)
    image = random.normal(size=(400, 1, 8, 8)).astype(np.float32)
    image[:, 0, 0, 0] += label * 1.0
    data = graphs.data(tmp_path / "rare", "label", image=image, label=label)
    (modules.code(tmp_path) / "nets.py").write_text(
        NETS + "\n\ndef line():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))\n"
    )
    shares = {}
    ways: dict[str, dict[str, Any]] = {
        "plain": {},
        "resample": {"resample": "balanced"},
        "weights": {"class_weights": "balanced"},
    }
    for name, options in ways.items():
        job = finetune(run_stage, tmp_path, "line", data, epochs=15, learning_rate=0.01, **options)
        answers = modules.revived(job)(torch.from_numpy(image)).argmax(1).numpy()
        shares[name] = float(answers[label == 1].mean())
    assert shares["plain"] < 0.5
    assert min(shares["resample"], shares["weights"]) > shares["plain"] + 0.3


def test_regression_and_probabilities(run_stage: Any, tmp_path: Path) -> None:
    image, digit, *_ = digits()
    (modules.code(tmp_path) / "nets.py").write_text(
        NETS
        + "\n\ndef sized():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 1))\n"
        "\n\ndef sure():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1))\n"
        "\n\ndef yes():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Sigmoid())\n"
    )
    target = image[:300, 0, 3, 3] - image[:300, 0, 4, 4]
    data = graphs.data(tmp_path / "difference", "y", image=image[:300], y=target)
    job = finetune(run_stage, tmp_path, "sized", data, epochs=20, learning_rate=0.01)
    assert modules.report(job)["loss"] == "mse"
    assert modules.report(job)["history"][-1]["loss"] < 0.2 * target.var()
    data = graphs.data(tmp_path / "classes", "digit", image=image[:600], digit=digit[:600].astype(str))
    job = finetune(run_stage, tmp_path, "sure", data, epochs=10, learning_rate=0.02)
    assert modules.report(job)["history"][-1]["accuracy"] > 0.9
    data = graphs.data(tmp_path / "binary", "small", image=image[:600], small=(digit[:600] < 5).astype(np.int64))
    job = finetune(run_stage, tmp_path, "yes", data, epochs=10, loss="binary_cross_entropy", learning_rate=0.02)
    assert modules.report(job)["history"][-1]["loss"] < 0.6


def test_what_the_source_answers_can_be_learnt_without_labels(run_stage: Any, tmp_path: Path) -> None:
    image, *_ = digits()
    data = graphs.data(tmp_path / "unlabelled", image=image[:600])
    pruned = modules.work(run_stage, tmp_path, Prune(method=Structured(method="structured", sparsity=0.5)), "Plain")
    assert pruned.framework is not None
    source = modules.answers(pruned.framework.load(pruned.files), 200)
    job = finetune(
        run_stage, tmp_path, "Plain", data, more={"changes": pruned.output("changes")}, loss="source", epochs=5
    )
    before, after = (((modules.answers(modules.revived(j), 200) - source) ** 2).mean() for j in (pruned, job))
    assert after < before / 2


@pytest.mark.parametrize(("net", "arrays", "options", "path", "text"), [
    ("Plain", {"digit": np.arange(97) % 11}, {}, ("loss",), "the labels have 11 values, and the output 10 classes"),
    ("Plain", {"digit": np.ones((97, 3))}, {"loss": "mse"}, ("loss",), "the labels are float64 [97, 3], and the output"),
    ("Plain", {"digit": np.ones((97, 3), int)}, {}, ("loss",), "cross_entropy takes one class for each sample"),
    ("Plain", {"digit": np.full((97, 10), 2.0)}, {"loss": "binary_cross_entropy"}, ("loss",), "takes labels of 0 and 1"),
    ("Tied", {}, {}, ("output",), "the model has several outputs, output_0, output_1, and finetune does not say"),
    ("Plain", {}, {"output": "logits"}, ("output",), "the model has no output 'logits'"),
    ("Plain", {}, {"class_weights": (1.0, 2.0)}, ("class_weights",), "there are 2 class weights and 10 classes"),
    ("Plain", {}, {"learning_rate": 1e30, "optimizer": "sgd"}, ("learning_rate",), "the training diverged"),
    ("Plain", {}, {"early_stopping": EarlyStopping(holdout=0.001)}, ("early_stopping", "holdout"), "holds out 0"),
])  # fmt: skip
def test_refusals(
    run_stage: Any, tmp_path: Path, net: str, arrays: dict[str, Array], options: dict[str, Any], path: Any, text: str
) -> None:
    image, digit, *_ = digits()
    data = graphs.data(tmp_path / "bad", "digit", **{"image": image[:97], "digit": digit[:97], **arrays})
    problem = refused(run_stage, tmp_path, net, data, epochs=2, **options)
    assert (problem.code, problem.path) == ("MS534", path)
    assert text in problem.message


def test_a_module_that_is_frozen_is_refused(run_stage: Any, tmp_path: Path, few: Path) -> None:
    code = modules.code(tmp_path) / "nets.py"
    code.write_text(NETS + "\n\ndef frozen():\n    return Plain().requires_grad_(False)\n")
    assert "all are frozen" in refused(run_stage, tmp_path, "frozen", few).message


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
    job = finetune(run_stage, tmp_path, "Plain", few, more=changes, trainer="nets.py:recover", params={"factor": 2},
                   learning_rate=0.5)  # fmt: skip
    before, after = weights(pruned)["head.weight"], weights(job)["head.weight"]
    assert torch.equal(after, torch.where(before == 0, 0, before * 2 + 0.5)), "the trainer's work, but for the zeros"
    problem = refused(run_stage, tmp_path, "Plain", few, trainer="nets.py:other")
    assert (problem.code, problem.path) == ("MS534", ("trainer",))
    problem = refused(run_stage, tmp_path, "Plain", few, trainer="nets.py:broken")
    assert (problem.code, problem.message.partition(": ")[2]) == ("MS517", "ValueError: no luck")
    assert refused(run_stage, tmp_path, "Plain", few, trainer="nets.py:recover").code == "MS517"


SCRIPT = """
import sys; from pathlib import Path
root = Path(sys.argv[1]); sys.path.insert(0, str(root / "in" / "code"))
from modelspec.stage import Job
from modelspec.stages.finetune import Finetune
from modelspec.stages._finetune_options import Augment, EarlyStopping
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


def test_a_shift_moves_zeros_in() -> None:
    from modelspec.stages._finetune_data import _shifted

    rows = torch.arange(1.0, 9.0).reshape(1, 1, 1, 8).repeat(64, 1, 1, 1)
    found = _shifted(rows, -1, 2, torch.Generator().manual_seed(0))
    expected = {
        tuple(float(v) if 1 <= v <= 8 else 0.0 for v in range(1 - by, 9 - by)) for by in (-2, -1, 0, 1, 2)
    }  # fmt: skip
    assert {tuple(row) for row in found.reshape(64, 8).tolist()} == expected
