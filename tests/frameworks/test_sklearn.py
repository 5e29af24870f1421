"""scikit-learn sources: estimators with their preprocessing, the same answers, nothing loaded that could run code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import ClassifierChain
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, PolynomialFeatures, StandardScaler
from sklearn.svm import SVC, LinearSVC

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


@pytest.mark.parametrize(("model", "data", "outputs"), [
    (make_pipeline(StandardScaler(), LogisticRegression()), WINE, {"label", "probabilities"}),
    (make_pipeline(StandardScaler(), MLPClassifier((16,), max_iter=40, random_state=0)), WINE, {"label", "probabilities"}),
    (make_pipeline(StandardScaler(), LinearSVC()), WINE, {"label", "scores"}),
    (make_pipeline(ColumnTransformer([("a", StandardScaler(), [0, 1]), ("b", MinMaxScaler(), slice(2, 13))]), LogisticRegression()),
     WINE, {"label", "probabilities"}),
    (make_pipeline(StandardScaler(), LogisticRegression()), CANCER, {"label", "probabilities"}),
    (RandomForestClassifier(5, random_state=0), CANCER, {"label", "probabilities"}),
    (make_pipeline(StandardScaler(), LinearSVC()), CANCER, {"label", "scores"}),
    (make_pipeline(StandardScaler(), RidgeClassifier()), CANCER, {"label", "scores"}),
    (make_pipeline(StandardScaler(), SVC()), WINE, {"label", "scores"}),
    (VotingClassifier([("a", LogisticRegression(max_iter=300)), ("b", GaussianNB())], voting="soft"), WINE, {"label", "probabilities"}),
    (VotingClassifier([("a", LogisticRegression(max_iter=300)), ("b", GaussianNB())]), WINE, {"label"}),
    (GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1.0]}, cv=2), WINE,
     {"label", "probabilities"}),
    (make_pipeline(SimpleImputer(), PolynomialFeatures(2), StandardScaler(), LogisticRegression()), WINE, {"label", "probabilities"}),
    (make_pipeline(StandardScaler(), PCA(4), KNeighborsClassifier()), WINE, {"label", "probabilities"}),
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


def test_an_estimator_of_text_is_told(save: Save, run_stage: Any) -> None:
    model = make_pipeline(CountVectorizer(), LogisticRegression()).fit(["good", "bad", "so so"], [1, 0, 0])
    problem = refused(run_stage, save(model))
    assert (problem.code, "something else than rows of features" in problem.message) == ("MS504", True)


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
