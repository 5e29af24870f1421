"""scikit-learn sources: estimators with their preprocessing, the same answers, nothing loaded that could run code."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsOneClassifier
from sklearn.multioutput import ClassifierChain
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import LocalOutlierFactor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from modelspec.errors import ModelspecError
from modelspec.formats.onnx_session import open_session
from modelspec.frameworks.sklearn import Sklearn
from modelspec.signature import Signature, TensorSpec
from modelspec.stage import Job
from modelspec.stages.convert import Convert, Parity

Save = Callable[..., dict[str, Path]]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """The estimator in a file, as an input folder."""

    def saved(model: Any, name: str = "model.skops") -> dict[str, Path]:
        folder = tmp_path / "artifact"
        folder.mkdir(exist_ok=True)
        skops.io.dump(model, folder / name)
        return {"artifact": folder}

    return saved


def source(name: str = "model.skops") -> Sklearn:
    return Sklearn(framework="sklearn", artifact=name)


WINE, CANCER, DIABETES = (load(return_X_y=True) for load in (load_wine, load_breast_cancer, load_diabetes))


def vote(voting: str) -> VotingClassifier:
    parts = [("a", LogisticRegression()), ("b", GaussianNB()), ("c", DecisionTreeClassifier(random_state=0))]
    return VotingClassifier(parts, voting=voting)


@pytest.mark.parametrize(("model", "data", "outputs"), [
    (make_pipeline(StandardScaler(), LogisticRegression()), WINE, {"label", "probabilities"}),
    (make_pipeline(StandardScaler(), MLPClassifier((16,), max_iter=40, random_state=0)), WINE, {"label", "probabilities"}),
    (make_pipeline(StandardScaler(), LinearSVC()), WINE, {"label", "scores"}),
    (make_pipeline(ColumnTransformer([("a", StandardScaler(), [0, 1]), ("b", MinMaxScaler(), slice(2, 13))]), LogisticRegression()),
     WINE, {"label", "probabilities"}),
    (make_pipeline(StandardScaler(), LogisticRegression()), CANCER, {"label", "probabilities"}),
    (make_pipeline(StandardScaler(), SVC()), WINE, {"label", "scores"}),
    (make_pipeline(StandardScaler(), SVC()), CANCER, {"label", "scores"}),
    (make_pipeline(StandardScaler(), LinearSVC()), CANCER, {"label", "scores"}),
    (make_pipeline(StandardScaler(), SGDClassifier(random_state=0)), CANCER, {"label", "scores"}),
    (make_pipeline(StandardScaler(), RidgeClassifier()), CANCER, {"label", "scores"}),
    (GridSearchCV(make_pipeline(StandardScaler(), SVC()), {"svc__C": [1, 10]}, cv=2), WINE, {"label", "scores"}),
    (make_pipeline(StandardScaler(), OneVsOneClassifier(LogisticRegression())), WINE, {"label", "scores"}),
    (make_pipeline(StandardScaler(), vote("hard")), WINE, {"label"}),
    (make_pipeline(StandardScaler(), vote("soft")), WINE, {"label", "probabilities"}),
    (QuadraticDiscriminantAnalysis(), WINE, {"label", "probabilities"}),
    (IsolationForest(n_estimators=10, random_state=0), DIABETES, {"prediction"}),
    (make_pipeline(SimpleImputer(), StandardScaler(), GradientBoostingClassifier(n_estimators=5, random_state=0)), WINE,
     {"label", "probabilities"}),
    (RandomForestClassifier(5, random_state=0), CANCER, {"label", "probabilities"}),
    (Ridge(), DIABETES, {"prediction"}),
    (GradientBoostingRegressor(n_estimators=10, random_state=0), DIABETES, {"prediction"}),
    (StandardScaler(), WINE, {"features"}),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_estimator_answers_alike(model: Any, data: Any, outputs: set[str], save: Save, run_stage: Any) -> None:
    x, y = data
    model.fit(x, y)
    job: Job = run_stage(Convert(parity=Parity(rtol=1e-2, atol=1e-3)), save(model), framework=source())
    framework = source()
    rows = x[:40].astype(np.float32)
    expected = framework.run(framework.load(job.files), Signature(), {"x": rows})
    found = open_session(job.output("model") / "model.onnx").run({"x": rows})
    assert found.keys() == outputs == expected.keys()
    for name in outputs:
        assert np.mean(np.isclose(found[name], expected[name], rtol=1e-3, atol=1e-3)) > 0.98


def test_labels_that_are_words(save: Save, run_stage: Any) -> None:
    x, y = CANCER
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, np.where(y == 1, "benign", "malignant"))
    job = run_stage(Convert(), save(model), framework=source())
    found = open_session(job.output("model") / "model.onnx").run({"x": x[:5].astype(np.float32)})
    assert found["label"].tolist() == model.predict(x[:5]).tolist()


def test_the_input_has_the_name_and_type_of_the_signature(save: Save, run_stage: Any) -> None:
    model = Ridge().fit(*DIABETES)
    signature = Signature(inputs={"patient": TensorSpec(dtype="float64", shape=("batch", 10))})
    job = run_stage(Convert(), save(model), framework=source(), signature=signature)
    assert '"name": "patient",\n      "dtype": "float64"' in (job.output("signature") / "signature.json").read_text()


def refused(run_stage: Any, inputs: dict[str, Path], name: str = "model.skops", **parts: Any) -> Any:
    with pytest.raises(ModelspecError) as caught:
        run_stage(Convert(), inputs, framework=source(name), **parts)
    return caught.value.diagnostics[0]


def test_a_wrong_number_of_features_is_told(save: Save, run_stage: Any) -> None:
    signature = Signature(inputs={"x": TensorSpec(dtype="float32", shape=("batch", 9))})
    problem = refused(run_stage, save(Ridge().fit(*DIABETES)), signature=signature)
    assert (problem.code, problem.help) == ("MS507", "write shape: [batch, 10]")


def test_what_is_not_fitted_is_told(save: Save, run_stage: Any) -> None:
    assert "is not fitted" in refused(run_stage, save(Ridge())).message


def test_an_estimator_that_cannot_answer_or_be_converted_is_told(save: Save, run_stage: Any) -> None:
    model: Any = LocalOutlierFactor().fit(WINE[0])
    assert refused(run_stage, save(model)).message == "the LocalOutlierFactor can neither predict nor transform"
    model = ClassifierChain(LogisticRegression()).fit(
        StandardScaler().fit_transform(CANCER[0]), np.stack([CANCER[1], 1 - CANCER[1]], axis=1)
    )
    assert refused(run_stage, save(model)).code == "MS505"


def test_a_pickle_is_refused_unread(tmp_path: Path, run_stage: Any) -> None:
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "model.joblib").write_bytes(b"\x80\x04cos\nsystem\n")
    problem = refused(run_stage, {"artifact": folder}, "model.joblib")
    assert problem.code == "MS612"
    assert "skops.io.dump" in problem.help


def test_types_beyond_scikit_learn_are_refused(save: Save, run_stage: Any) -> None:
    model = make_pipeline(FunctionTransformer(Path.touch), Ridge())
    problem = refused(run_stage, save(model))
    assert problem.code == "MS612"
    assert "pathlib" in problem.message


def test_a_damaged_file_is_refused(tmp_path: Path, run_stage: Any) -> None:
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "model.skops").write_bytes(b"PK\x03\x04 and no more")
    assert refused(run_stage, {"artifact": folder}).code == "MS504"


def test_clusters_are_predictions(save: Save, run_stage: Any) -> None:
    model = KMeans(3, random_state=0, n_init=1).fit(WINE[0])
    job = run_stage(Convert(), save(model), framework=source())
    found = open_session(job.output("model") / "model.onnx").run({"x": WINE[0].astype(np.float32)})
    assert np.mean(found["prediction"] == model.labels_) > 0.98


@pytest.mark.parametrize("model", [
    make_pipeline(StandardScaler(), RandomForestClassifier(30, random_state=0)),
    make_pipeline(ColumnTransformer([("a", StandardScaler(), slice(0, 64))]), DecisionTreeClassifier(random_state=0)),
])  # fmt: skip
def test_trees_split_scaled_round_numbers_as_the_source_does(model: Any, save: Save, run_stage: Any) -> None:
    """Pixels are whole numbers, so thresholds lie exactly on some of them: the last bit of a scaled value decides."""
    x, y = load_digits(return_X_y=True)
    job = run_stage(Convert(), save(model.fit(x[::2], y[::2])), framework=source())
    found = open_session(job.output("model") / "model.onnx").run({"x": x[1::2].astype(np.float32)})
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(x[1::2]), atol=1e-5)


@pytest.mark.parametrize("model", [
    RandomForestClassifier(10, random_state=0), GradientBoostingClassifier(n_estimators=5, random_state=0),
])  # fmt: skip
def test_trees_take_double_precision(model: Any, save: Save, run_stage: Any) -> None:
    signature = Signature(inputs={"x": TensorSpec(dtype="float64", shape=("batch", 13))})
    job = run_stage(Convert(), save(model.fit(*WINE)), framework=source(), signature=signature)
    found = open_session(job.output("model") / "model.onnx").run({"x": WINE[0]})
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(WINE[0]), atol=1e-5)


def test_categories_may_be_text(save: Save, run_stage: Any) -> None:
    x = np.array([["red", "a"], ["blue", "b"], ["red", "b"], ["green", "a"]] * 5, dtype=object)
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(x, [0, 1, 1, 0] * 5)
    signature = Signature(inputs={"x": TensorSpec(dtype="string", shape=("batch", 2))})
    job = run_stage(Convert(), save(model), framework=source(), signature=signature)
    found = open_session(job.output("model") / "model.onnx").run({"x": x})
    assert found["label"].tolist() == model.predict(x).tolist()


def test_outputs_share_the_batch_of_the_input(save: Save, run_stage: Any) -> None:
    job = run_stage(Convert(), save(make_pipeline(StandardScaler(), SVC()).fit(*WINE)), framework=source())
    outputs = json.loads((job.output("signature") / "signature.json").read_text())["outputs"]
    assert [(output["name"], output["shape"]) for output in outputs] == [("label", ["batch"]), ("scores", ["batch", 3])]


def test_a_refusal_of_the_converter_names_its_cause(save: Save, run_stage: Any) -> None:
    problem = refused(run_stage, save(HistGradientBoostingClassifier(max_iter=2).fit(*WINE)))
    assert problem.code == "MS505"
    assert "HistGradientBoostingClassifier" in problem.message
    assert "attributes=" not in problem.message
    assert "instead of HistGradientBoosting" in problem.help


def test_text_and_several_labels_are_told(save: Save, run_stage: Any) -> None:
    model: Any = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(["good film", "bad film"], [1, 0])
    assert "such as text" in refused(run_stage, save(model)).message
    model = RandomForestClassifier(2).fit(CANCER[0], np.stack([CANCER[1], 1 - CANCER[1]], axis=1))
    assert "several labels per sample" in refused(run_stage, save(model)).message


def test_input_that_the_estimator_refuses_is_told() -> None:
    model = Ridge().fit(*DIABETES)
    with pytest.raises(
        ModelspecError, match=r"MS507 the Ridge refuses an input of float64 \[2, 10\]: Input X contains NaN"
    ):
        source().run(model, Signature(), {"x": np.full((2, 10), np.nan, dtype=np.float32)})
