"""Evaluation: scikit-learn's numbers, of what is published and of the source; what is no number is null."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as scores

from modelspec.errors import ModelspecError
from modelspec.metric import METRICS
from modelspec.stages import _metrics as compute
from modelspec.stages.compile import Compile
from modelspec.stages.evaluate import Evaluate
from modelspec.targets.cpu import Cpu
from tests.stages import graphs

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(200, 4))
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
LABELS = np.where(RANDOM.random(200) < 0.6, LOGITS.argmax(axis=1), RANDOM.integers(0, 4, 200))
TRUE = RANDOM.normal(size=200)
PREDICTED = TRUE + RANDOM.normal(size=200) * 0.3


def value(name: str, labels: Any, found: Any, source: Any = None, judged: str = "y") -> float | None:
    outputs = found if isinstance(found, dict) else {judged: found}
    return compute.metric(name, labels, outputs, outputs if source is None else {judged: source}, judged)


@pytest.mark.parametrize(("name", "expected"), [
    ("accuracy", scores.accuracy_score),
    ("balanced_accuracy", scores.balanced_accuracy_score),
    ("f1_macro", lambda y, p: scores.f1_score(y, p, average="macro")),
    ("f1_micro", lambda y, p: scores.f1_score(y, p, average="micro")),
    ("f1_weighted", lambda y, p: scores.f1_score(y, p, average="weighted")),
    ("precision_macro", lambda y, p: scores.precision_score(y, p, average="macro")),
    ("recall_macro", lambda y, p: scores.recall_score(y, p, average="macro")),
    ("matthews_corrcoef", scores.matthews_corrcoef),
])  # fmt: skip
@pytest.mark.parametrize("found", [LOGITS, PROBABILITIES, LOGITS.argmax(axis=1)])
def test_metrics_of_classes_are_those_of_scikit_learn(name: str, expected: Any, found: Any) -> None:
    assert value(name, LABELS, found) == pytest.approx(expected(LABELS, LOGITS.argmax(axis=1)))


@pytest.mark.parametrize("found", [LOGITS, PROBABILITIES])
def test_metrics_of_probabilities_take_logits_too(found: Any) -> None:
    assert value("log_loss", LABELS, found) == pytest.approx(scores.log_loss(LABELS, PROBABILITIES))
    assert value("roc_auc_ovr", LABELS, found) == pytest.approx(
        scores.roc_auc_score(LABELS, PROBABILITIES, multi_class="ovr")
    )


@pytest.mark.parametrize(
    "name", ["r2", "mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "max_error"]
)
def test_metrics_of_values(name: str) -> None:
    functions = {"r2": scores.r2_score}
    function = functions.get(name) or getattr(scores, name)
    assert value(name, TRUE, PREDICTED.reshape(-1, 1)) == pytest.approx(function(TRUE, PREDICTED))


def test_every_named_metric_can_be_computed() -> None:
    for name, metric in METRICS.items():
        if metric.made_by == "evaluate":
            found = PREDICTED.reshape(-1, 1) if metric.task == "regression" else LOGITS
            assert math.isfinite(value(name, TRUE if metric.task == "regression" else LABELS, found) or 0)


@pytest.mark.parametrize(("column", "expected"), [
    ([[0.2], [0.8], [0.6]], [0, 1, 1]),  # a probability
    ([[-2.0], [0.3], [5.0]], [0, 1, 1]),  # a logit
])  # fmt: skip
def test_one_column_is_a_probability_or_a_logit(column: Any, expected: list[int]) -> None:
    assert compute.classes(np.array(column)).tolist() == expected
    assert value("accuracy", np.array(expected), np.array(column)) == 1
    assert value("roc_auc_ovr", np.array(expected), np.array(column)) == 1


def test_a_classifier_that_names_its_classes_is_believed() -> None:
    outputs = {"label": np.array(["b", "a", "c"]), "probabilities": np.eye(3)[[1, 0, 2]]}
    words = np.array(["b", "a", "c"])
    assert value("accuracy", words, outputs, judged="probabilities") == 1
    assert value("roc_auc_ovr", words, outputs, judged="probabilities") == 1
    outputs = {"label": np.array([3, 1, 2]), "probabilities": np.eye(3)[[2, 0, 1]]}
    assert value("accuracy", np.array([3, 1, 2]), outputs, judged="probabilities") == 1
    assert value("log_loss", np.array([3, 1, 2]), outputs, judged="probabilities") == pytest.approx(0)


def test_a_classifier_that_names_its_classes_is_believed_over_its_scores() -> None:
    """A support vector machine votes; the largest of its scores may be another class."""
    outputs = {"label": np.array(["b", "a"], dtype=object), "scores": np.array([[0.3, 0.2, 0.1], [0.3, 0.2, 0.1]])}
    assert value("accuracy", np.array(["b", "a"]), outputs, judged="scores") == 1


@pytest.mark.parametrize(("name", "labels", "found"), [
    ("accuracy", np.array(["cat", "dog"]), np.eye(2)),
    ("accuracy", np.array([0, 1]), np.array(["cat", "dog"])),
    ("log_loss", np.array([0, 1]), np.array([0, 1])),
    ("roc_auc_ovr", np.array([0, 1]), np.array([0, 1])),
    ("accuracy", np.eye(2), np.eye(2)),
])  # fmt: skip
def test_labels_and_answers_that_cannot_be_compared_are_refused(name: str, labels: Any, found: Any) -> None:
    with pytest.raises(ModelspecError, match="MS516"):
        value(name, labels, found)


@pytest.mark.parametrize(("labels", "found"), [
    (np.array(["0", "1"]), np.eye(2)), (np.array([False, True]), np.eye(2)), (np.array([0.0, 1.0]), np.array([0, 1])),
])  # fmt: skip
def test_labels_of_another_type_are_compared_by_meaning(labels: Any, found: Any) -> None:
    assert value("accuracy", labels, found) == 1


def test_what_is_no_number_is_null() -> None:
    broken = LOGITS.copy()
    broken[3, 1] = np.nan
    assert value("accuracy", LABELS, broken) is None
    assert not math.isfinite(value("cosine_mean", None, broken, LOGITS) or math.nan)


def test_cosine_and_agreement_compare_with_the_source() -> None:
    assert value("cosine_mean", None, LOGITS, LOGITS) == 1
    assert value("cosine_min", None, -LOGITS, LOGITS) == pytest.approx(-1)
    assert value("agreement", None, LOGITS * 2, LOGITS) == 1
    assert value("agreement", None, -LOGITS, LOGITS) < 0.5  # type: ignore[operator]
    assert value("agreement", None, PREDICTED.reshape(-1, 1) * 1.1, PREDICTED.reshape(-1, 1)) == 0


@pytest.mark.parametrize(("outputs", "asked", "task", "expected"), [
    ({"a": LOGITS}, None, "classification", "a"),
    ({"label": LABELS, "probabilities": PROBABILITIES}, None, "classification", "probabilities"),
    ({"a": LOGITS, "b": PREDICTED}, None, "classification", "a"),
    ({"a": LOGITS, "b": PREDICTED}, "b", "regression", "b"),
])  # fmt: skip
def test_the_judged_output(outputs: Any, asked: str | None, task: str, expected: str) -> None:
    assert compute.judged_output(outputs, asked, task) == expected


@pytest.mark.parametrize(("outputs", "asked"), [({"a": LOGITS, "b": LOGITS}, None), ({"a": LOGITS}, "c")])
def test_an_output_that_cannot_be_told_is_refused(outputs: Any, asked: str | None) -> None:
    with pytest.raises(ModelspecError, match="MS323"):
        compute.judged_output(outputs, asked, "classification")


def test_answers_that_do_not_fit_the_labels_are_told() -> None:
    with pytest.raises(ModelspecError, match="MS516"):
        value("accuracy", LABELS[:5], LOGITS)
    with pytest.raises(ModelspecError, match="the labels have 2 values, and the model 4 classes"):
        value("log_loss", np.array(["a", "b"] * 100), LOGITS)


METRIC_FILE = """
def cost(labels, outputs): return float((outputs["logits"].argmax(axis=1) != labels).sum())
def word(labels, outputs): return "many"
def broken(labels, outputs): return outputs["nothing"]
"""


def run(run_stage: Any, tmp_path: Path, *metrics: str, task: Any = "classification") -> dict[str, Any]:
    model = graphs.mlp(tmp_path)
    made = graphs.made_of(model, tmp_path / "made", (70, 32))
    target = Cpu(device="cpu")
    compiled = run_stage(Compile(), {name: made[name] for name in ("model", "samples")}, target=target)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "metrics.py").write_text(METRIC_FILE)
    x = np.random.default_rng(4).normal(size=(70, 32)).astype(np.float32)
    from modelspec.formats import npz
    from modelspec.formats.onnx_session import open_session

    outputs = open_session(model / "model.onnx").run({"x": x})
    (tmp_path / "reference").mkdir()
    npz.write(tmp_path / "reference" / "outputs.npz", outputs)
    data = graphs.data(tmp_path / "data", "y", x=x, y=outputs["logits"].argmax(axis=1))
    inputs = {"artifact": compiled.output("artifact"), "signature": made["signature"], "data": data,
              "reference": tmp_path / "reference", "code": tmp_path / "code"}  # fmt: skip
    job = run_stage(Evaluate(task=task, data="test", metrics=metrics), inputs, target=target)
    return dict(json.loads((job.output("metrics") / "evaluate.json").read_text()))


def test_the_artifact_and_the_source_are_measured_alike(run_stage: Any, tmp_path: Path) -> None:
    found = run(run_stage, tmp_path, "accuracy", "agreement", "metrics.py:cost")
    assert found == {
        "task": "classification",
        "samples": 70,
        "batch": 64,
        "metrics": {"accuracy": 1.0, "agreement": 1.0, "cost": 0.0},
        "source": {"accuracy": 1.0, "agreement": 1.0, "cost": 0.0},
    }


@pytest.mark.parametrize(("metric", "code", "words"), [
    ("metrics.py:word", "MS516", "metrics.py:word gave str, not a number"),
    ("metrics.py:broken", "MS517", "metrics.py:4: KeyError: 'nothing'"),
    ("metrics.py:absent", "MS324", "no callable 'absent'"),
])  # fmt: skip
def test_a_metric_of_the_user_that_fails_is_told(
    run_stage: Any, tmp_path: Path, metric: str, code: str, words: str
) -> None:
    with pytest.raises(ModelspecError) as caught:
        run(run_stage, tmp_path, metric)
    assert caught.value.diagnostics[0].code == code
    assert words in caught.value.diagnostics[0].message


def test_gates_and_names_enter_no_key() -> None:
    from modelspec.metric import Gate

    plain = Evaluate(data="test", metrics=("accuracy",))
    gated = Evaluate(data="other", metrics=("accuracy",), gates=(Gate(metric="accuracy", min=0.9),))
    assert plain.keyed() == gated.keyed()
    assert Evaluate(data="test", metrics=("f1_macro",)).keyed() != plain.keyed()
