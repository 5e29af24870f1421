"""Options of training: each does something, and what cannot do anything is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modelspec.stages._finetune_options import Augment, EarlyStopping
from modelspec.stages._prune_options import Structured
from modelspec.stages.prune import Prune
from tests.stages import graphs, modules

Array = np.ndarray[Any, Any]
NETS = modules.NETS.read_text()


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
        image, digit, *_ = modules.digits()
        few = graphs.data(tmp_path / "hot", "hot", image=image[:97], hot=np.eye(10, dtype=np.float32)[digit[:97]])
    plain = {"batch_size": options["batch_size"]} if "batch_size" in options else {}
    a = modules.weights(
        modules.finetune(
            run_stage, tmp_path, "Plain", few, epochs=2, **plain | ({"loss": "huber"} if "hot" in str(few) else {})
        )
    )
    b = modules.weights(modules.finetune(run_stage, tmp_path, "Plain", few, epochs=2, **options))
    assert all(tensor.isfinite().all() for tensor in b.values())
    different = not all(torch.equal(a[name], b[name]) for name in a)
    assert different or "threads" in options, "on some machines two threads give the same bits"


def test_dropout_is_set_on_the_layers_there_are(run_stage: Any, tmp_path: Path, few: Path) -> None:
    (modules.code(tmp_path) / "nets.py").write_text(
        NETS + "\n\ndef dropping():\n    return nn.Sequential(nn.Flatten(), nn.Dropout(0.0), nn.Linear(64, 10))\n"
    )
    a, b, c = (
        modules.weights(modules.finetune(run_stage, tmp_path, "dropping", few, epochs=1, dropout=p))["2.weight"]
        for p in (None, 0.0, 0.5)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert modules.untrained(run_stage, tmp_path, "Plain", few, dropout=0.5).path == ("dropout",)


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
        job = modules.finetune(run_stage, tmp_path, "line", data, epochs=15, learning_rate=0.01, **options)
        answers = modules.revived(job)(torch.from_numpy(image)).argmax(1).numpy()
        shares[name] = float(answers[label == 1].mean())
    assert shares["plain"] < 0.5
    assert min(shares["resample"], shares["weights"]) > shares["plain"] + 0.3


def test_regression_and_probabilities(run_stage: Any, tmp_path: Path) -> None:
    image, digit, *_ = modules.digits()
    (modules.code(tmp_path) / "nets.py").write_text(
        NETS
        + "\n\ndef sized():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 1))\n"
        "\n\ndef sure():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1))\n"
        "\n\ndef yes():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Sigmoid())\n"
    )
    target = image[:300, 0, 3, 3] - image[:300, 0, 4, 4]
    data = graphs.data(tmp_path / "difference", "y", image=image[:300], y=target)
    job = modules.finetune(run_stage, tmp_path, "sized", data, epochs=20, learning_rate=0.01)
    assert modules.report(job)["loss"] == "mse"
    assert modules.report(job)["history"][-1]["loss"] < 0.2 * target.var()
    data = graphs.data(tmp_path / "classes", "digit", image=image[:600], digit=digit[:600].astype(str))
    job = modules.finetune(run_stage, tmp_path, "sure", data, epochs=10, learning_rate=0.02)
    assert modules.report(job)["history"][-1]["accuracy"] > 0.9
    data = graphs.data(tmp_path / "binary", "small", image=image[:600], small=(digit[:600] < 5).astype(np.int64))
    job = modules.finetune(run_stage, tmp_path, "yes", data, epochs=10, loss="binary_cross_entropy", learning_rate=0.02)
    assert modules.report(job)["history"][-1]["loss"] < 0.6


def test_what_the_source_answers_can_be_learnt_without_labels(run_stage: Any, tmp_path: Path) -> None:
    image, *_ = modules.digits()
    data = graphs.data(tmp_path / "unlabelled", image=image[:600])
    pruned = modules.work(run_stage, tmp_path, Prune(method=Structured(method="structured", sparsity=0.5)), "Plain")
    assert pruned.framework is not None
    source = modules.answers(pruned.framework.load(pruned.files), 200)
    job = modules.finetune(
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
    ("Plain", {"digit": np.ones((97, 10))}, {"resample": "balanced"}, ("resample",), "the loss is mse, told by the labels"),
    ("Plain", {"digit": np.ones((97, 10))}, {"class_weights": "balanced"}, ("class_weights",), "the loss is mse"),
    ("Plain", {}, {"learning_rate": 1e30, "optimizer": "sgd"}, ("learning_rate",), "the training diverged"),
    ("Plain", {}, {"early_stopping": EarlyStopping(holdout=0.001)}, ("early_stopping", "holdout"), "holds out 0"),
])  # fmt: skip
def test_refusals(
    run_stage: Any, tmp_path: Path, net: str, arrays: dict[str, Array], options: dict[str, Any], path: Any, text: str
) -> None:
    image, digit, *_ = modules.digits()
    data = graphs.data(tmp_path / "bad", "digit", **{"image": image[:97], "digit": digit[:97], **arrays})
    problem = modules.untrained(run_stage, tmp_path, net, data, epochs=2, **options)
    assert (problem.code, problem.path) == ("MS534", path)
    assert text in problem.message


def test_a_module_that_is_frozen_is_refused(run_stage: Any, tmp_path: Path, few: Path) -> None:
    code = modules.code(tmp_path) / "nets.py"
    code.write_text(NETS + "\n\ndef frozen():\n    return Plain().requires_grad_(False)\n")
    assert "all are frozen" in modules.untrained(run_stage, tmp_path, "frozen", few).message


def test_a_shift_moves_zeros_in() -> None:
    from modelspec.stages._finetune_data import _shifted

    rows = torch.arange(1.0, 9.0).reshape(1, 1, 1, 8).repeat(64, 1, 1, 1)
    found = _shifted(rows, -1, 2, torch.Generator().manual_seed(0))
    expected = {
        tuple(float(v) if 1 <= v <= 8 else 0.0 for v in range(1 - by, 9 - by)) for by in (-2, -1, 0, 1, 2)
    }  # fmt: skip
    assert {tuple(row) for row in found.reshape(64, 8).tolist()} == expected
