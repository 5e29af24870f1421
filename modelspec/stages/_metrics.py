"""Computes metrics with scikit-learn's functions, from what a model answers and what is true."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelspec.errors import fail
from modelspec.words import closest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

CLASSES = "label"
"""The output of a classifier that names the class itself."""

PREFERRED = ("probabilities", "logits", "scores", "prediction")
"""Names of outputs that say what they are, best first."""

_FROM_CLASSES = {
    "accuracy": ("accuracy_score", {}),
    "balanced_accuracy": ("balanced_accuracy_score", {}),
    "f1_macro": ("f1_score", {"average": "macro", "zero_division": 0}),
    "f1_micro": ("f1_score", {"average": "micro", "zero_division": 0}),
    "f1_weighted": ("f1_score", {"average": "weighted", "zero_division": 0}),
    "precision_macro": ("precision_score", {"average": "macro", "zero_division": 0}),
    "recall_macro": ("recall_score", {"average": "macro", "zero_division": 0}),
    "matthews_corrcoef": ("matthews_corrcoef", {}),
}
_FROM_VALUES = {
    "r2": "r2_score",
    "mean_absolute_error": "mean_absolute_error",
    "mean_squared_error": "mean_squared_error",
    "root_mean_squared_error": "root_mean_squared_error",
    "max_error": "max_error",
}


def judged_output(outputs: "Mapping[str, Array]", asked: str | None, task: str) -> str:
    """The output that metrics look at: the one asked for, else the only one, else one that says what it is."""
    if asked is not None:
        if asked not in outputs:
            near = closest(asked, outputs)
            fix = f"did you mean {near!r}?" if near else "name one of them"
            said = f"the model has no output {asked!r}; it has {', '.join(outputs)}"
            raise fail("MS323", said, help=fix, path=("output",))
        return asked
    if len(outputs) == 1:
        return next(iter(outputs))
    named = [name for name in PREFERRED if name in outputs]
    floats = [name for name, array in outputs.items() if array.dtype.kind == "f" and array.ndim == 2]
    if named:
        return named[0]
    if len(floats) == 1 and task != "regression":
        return floats[0]
    raise fail(
        "MS323",
        f"the model has several outputs, {', '.join(outputs)}, and evaluate does not say which to judge",
        help=f"add evaluate: {{output: {next(iter(outputs))}}}",
        path=("output",),
    )


def metric(
    name: str, labels: "Array | None", found: "Mapping[str, Array]", source: "Mapping[str, Array]", judged: str
) -> float | None:
    """One named metric of the output `judged`; None where it has no value. Raises MS516 when it does not fit."""
    import numpy as np

    if name == "agreement":
        return _agreement(found[judged], source[judged])
    if name.startswith("cosine"):
        cosines = _cosines(found[judged], source[judged])
        return float(cosines.mean() if name == "cosine_mean" else cosines.min())
    assert labels is not None, "the rules of the spec ask for labels"
    # Only the classifier itself knows which class a column stands for, and how it breaks ties.
    told = name in _FROM_CLASSES and judged in ("probabilities", "scores") and CLASSES in found
    answers = found[CLASSES if told else judged]
    if answers.dtype.kind == "f" and not np.isfinite(answers).all():
        return None
    return _scored(name, labels, answers)


def _scored(name: str, labels: "Array", answers: "Array") -> float:
    import warnings

    with warnings.catch_warnings():
        # A class that is never predicted is a fact about the model, and the score says it.
        warnings.simplefilter("ignore")
        try:
            return _with_labels(name, labels, answers)
        except ValueError as error:
            reason = str(error).strip().splitlines()[0]
            raise fail(
                "MS516",
                f"{name} cannot be computed: {reason}",
                help="check that the labels and the judged output belong together",
                path=("metrics",),
            ) from error


def _with_labels(name: str, labels: "Array", found: "Array") -> float:
    import sklearn.metrics as functions

    if name in _FROM_VALUES:
        return float(
            getattr(functions, _FROM_VALUES[name])(labels.reshape(len(labels), -1), found.reshape(len(found), -1))
        )
    if labels.size != len(labels):
        raise ValueError(f"the labels have the shape {list(labels.shape)}, and a class is one value per sample")
    if name in _FROM_CLASSES:
        function, options = _FROM_CLASSES[name]
        return float(getattr(functions, function)(*_same_kind(labels, classes(found)), **options))
    if found.dtype.kind != "f":
        raise ValueError("the judged output names classes, and gives no scores")
    scores = _probabilities(found)
    places = _places(labels, scores.shape[1])
    columns = list(range(scores.shape[1]))
    if name == "log_loss":
        return float(functions.log_loss(places, scores, labels=columns))
    if len(columns) == 2:
        return float(functions.roc_auc_score(places, scores[:, 1]))
    return float(functions.roc_auc_score(places, scores, multi_class="ovr", labels=columns))


def _places(labels: "Array", columns: int) -> "Array":
    """The column of each label: the label itself where it is one, else its place among the sorted labels."""
    import numpy as np

    labels = labels.reshape(-1)
    if labels.dtype.kind in "iub" and labels.min() >= 0 and labels.max() < columns:
        return labels.astype(np.int64)
    names, places = np.unique(labels, return_inverse=True)
    if len(names) != columns:
        raise ValueError(f"the labels have {len(names)} values, and the model {columns} classes")
    return places


def classes(found: "Array") -> "Array":
    """The answered class of each sample: integers and strings as they are, the largest of several scores, or a
    single score against one half (a probability) or zero (anything outside 0..1)."""
    import numpy as np

    if found.dtype.kind in "iubOUS":
        return found.reshape(len(found), -1)[:, 0] if found.ndim > 1 else found
    scores = found.reshape(len(found), -1)
    if scores.shape[1] == 1:
        threshold = 0.5 if ((scores >= 0) & (scores <= 1)).all() else 0.0
        return (scores[:, 0] > threshold).astype(np.int64)
    best: Array = scores.argmax(axis=1)
    return best


def _same_kind(labels: "Array", answers: "Array") -> "tuple[Array, Array]":
    """Both as text where one is. Raises ValueError where they can never be equal: a score of 0 would say nothing."""
    labels = labels.reshape(-1)
    if (labels.dtype.kind in "OUS") == (answers.dtype.kind in "OUS"):
        return labels, answers
    labels, answers = labels.astype(str), answers.astype(str)
    if not set(labels) & set(answers):
        raise ValueError(f"a label is {str(labels[0])!r}, and an answer {str(answers[0])!r}")
    return labels, answers


def _probabilities(found: "Array") -> "Array":
    """Rows that sum to one: as they are, from one column, or from logits."""
    import numpy as np

    scores = found.reshape(len(found), -1).astype(np.float64)
    if scores.shape[1] == 1:
        probability = scores if ((scores >= 0) & (scores <= 1)).all() else 1 / (1 + np.exp(-scores))
        return np.hstack([1 - probability, probability])
    if (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3):
        weights = scores
    else:
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Array = weights / weights.sum(axis=1, keepdims=True)
    return shares


def _cosines(found: "Array", source: "Array") -> "Array":
    import numpy as np

    a, b = (array.reshape(len(array), -1).astype(np.float64) for array in (found, source))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    same = (a == b).all(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines: Array = np.where(same, 1.0, (a * b).sum(axis=1) / lengths)
    return cosines


def _agreement(found: "Array", source: "Array") -> float:
    """The share of samples answered alike: the same class, or for other outputs values within 1 %."""
    import numpy as np

    if found.dtype.kind != "f" or (found.ndim == 2 and found.shape[1] > 1):
        return float(np.mean(classes(found) == classes(source)))
    close = np.isclose(found, source, rtol=0.01, atol=1e-6, equal_nan=True)
    return float(close.reshape(len(close), -1).all(axis=1).mean())


def user_metric(entrypoint: str, code: Path, labels: "Array | None", outputs: "Mapping[str, Array]") -> float:
    """The number that the user's function gives for (labels, outputs by name). Raises MS517 or MS516."""
    from modelspec.user_code import call

    value = call(entrypoint, code, labels, dict(outputs))
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise fail("MS516", f"{entrypoint} gave {type(value).__name__}, not a number", help="return a float") from error
