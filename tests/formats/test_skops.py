"""skops files: what scikit-learn makes is read, whatever else a file names is not."""

import gc
import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest, SelectPercentile, chi2, f_classif, mutual_info_classif
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, Matern, WhiteKernel
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier, TweedieRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from modelspec.errors import ModelspecError
from modelspec.formats import skops_file
from tests.formats import skops_files

X, Y = load_wine(return_X_y=True)
LOGISTIC = LogisticRegression(max_iter=200)

ESTIMATORS = [
    make_pipeline(StandardScaler(), LOGISTIC),
    make_pipeline(FunctionTransformer(np.log1p), FeatureUnion([("a", StandardScaler())]), RidgeClassifier()),
    make_pipeline(ColumnTransformer([("a", StandardScaler(), [0, 1])], remainder="passthrough"), SGDClassifier()),
    make_pipeline(SimpleImputer(), KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), LOGISTIC),
    make_pipeline(OneHotEncoder(handle_unknown="ignore"), LOGISTIC),
    make_pipeline(KNNImputer(), SelectKBest(f_classif, k=4), LOGISTIC),
    make_pipeline(SelectKBest(chi2, k=4), LOGISTIC),
    make_pipeline(SelectPercentile(mutual_info_classif), LOGISTIC),
    DecisionTreeClassifier(max_depth=3),
    RandomForestClassifier(3, max_depth=3),
    ExtraTreesClassifier(3, max_depth=3),
    GradientBoostingClassifier(n_estimators=3),
    HistGradientBoostingClassifier(max_iter=3),
    IsolationForest(n_estimators=3),
    AdaBoostClassifier(n_estimators=3),
    CalibratedClassifierCV(LOGISTIC, cv=2),
    GaussianProcessClassifier(RBF() + WhiteKernel() * Matern(), optimizer=None),
    KNeighborsClassifier(algorithm="kd_tree"),
    KNeighborsClassifier(algorithm="ball_tree", metric="manhattan"),
    KNeighborsClassifier(algorithm="brute"),
    make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=5)),
    make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=5, solver="sgd")),
    SVC(),
    OneVsRestClassifier(LOGISTIC),
    VotingClassifier([("a", LOGISTIC), ("b", DecisionTreeClassifier(max_depth=2))]),
    StackingClassifier([("a", DecisionTreeClassifier(max_depth=2))], LOGISTIC, cv=2),
    GridSearchCV(DecisionTreeClassifier(max_depth=2), {"criterion": ["gini", "entropy"]}, cv=2),
    TweedieRegressor(),
]


@pytest.mark.parametrize("model", ESTIMATORS, ids=lambda model: str(model).split("(")[0])
def test_estimators_are_read_as_they_were(model: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, Y)
    skops.io.dump(model, tmp_path / "model.skops")
    read = skops_file.read(tmp_path / "model.skops")
    np.testing.assert_array_equal(read.predict(X), model.predict(X))


def test_compressed_and_sparse_files_are_read(tmp_path: Path) -> None:
    from scipy.sparse import csr_matrix

    model = KNeighborsClassifier(algorithm="brute").fit(csr_matrix(X), Y)
    skops.io.dump(model, tmp_path / "model.skops", compression=zipfile.ZIP_DEFLATED)
    assert (
        skops_file.read(tmp_path / "model.skops").predict(csr_matrix(X)).tolist()
        == model.predict(csr_matrix(X)).tolist()
    )


def refused(path: Path) -> tuple[str, str]:
    with pytest.raises(ModelspecError) as caught:
        skops_file.read(path)
    (problem,) = caught.value.diagnostics
    assert problem.path in {("artifact",), ()}  # without a place of its own it is shown at the source
    return problem.code, problem.message


@pytest.mark.parametrize("name", skops_files.attacks(Path()))
def test_nothing_beyond_the_list_is_made(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    skops_files.write(skops_files.attacks(canary)[name], tmp_path / "model.skops")
    assert refused(tmp_path / "model.skops")[0] == "MS612"
    assert not canary.exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the payloads leave files open
@pytest.mark.filterwarnings("ignore:unclosed file")
def test_a_prefix_of_names_would_not_do(tmp_path: Path) -> None:
    """What the list is for: the same files, taken on the word of their names, write the canary."""
    written = set()
    for name, schema in skops_files.attacks(tmp_path / "canary").items():
        skops_files.write(schema, tmp_path / "model.skops")
        names = skops.io.get_untrusted_types(file=tmp_path / "model.skops")
        if all(found.startswith(("sklearn.", "numpy.", "scipy.", "builtins.")) for found in names):
            try:
                skops.io.load(tmp_path / "model.skops", trusted=names)
            except Exception:  # noqa: BLE001 - whatever the payload raises
                continue
            finally:
                written |= {name} if (tmp_path / "canary").exists() else set()
                (tmp_path / "canary").unlink(missing_ok=True)
    gc.collect()
    assert {"exec", "eval", "open", "numpy's runstring", "numpy.memmap", "exec of a key", "exec as a loss"} <= written


def test_each_listed_name_is_what_its_node_makes() -> None:
    """Classes that are objects, functions that are functions, each where its name says; none comes from elsewhere."""
    import importlib

    found = 0
    for name, loader in skops_file.ALLOWED.items():
        module, _, attribute = name.rpartition(".")
        made = getattr(importlib.import_module(module), attribute, None)
        if made is None:
            continue
        found += 1
        assert isinstance(made, type) == (loader != "FunctionNode"), name
        assert made.__name__ == attribute
        assert made.__module__.split(".")[0] == name.split(".")[0]
    assert found > 50


@pytest.mark.parametrize("text", [
    b"{" * 200_000,
    b'{"a":' * 200_000,
    b"[]",
    b"null",
    b"{}",
    b'{"protocol": 2}',
    b'{"protocol": 99, "__loader__": "DictNode"}',
    b'{"protocol": 2, "__class__": 3, "__module__": [], "__loader__": {}}',
    b'{"protocol": 2, "__class__": "x", "__module__": "y", "__loader__": "NoSuchNode"}',
    b'{"protocol": 2, "__class__": "dict", "__module__": "builtins", "__loader__": "CachedNode", "__id__": 1}',
    b"\xff\xfe",
])  # fmt: skip
def test_a_schema_that_is_none_is_said(text: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as file:
        file.writestr("schema.json", text)
    code, message = refused(tmp_path / "model.skops")
    assert code == "MS504"
    assert "\n" not in message


def test_depth_does_not_reach_the_stack(tmp_path: Path) -> None:
    schema = skops_files.text(1)
    for _ in range(300):
        schema = skops_files.list_of(schema)
    skops_files.write(schema, tmp_path / "model.skops")
    assert refused(tmp_path / "model.skops")[0] == "MS504"


def npy(shape: str, descr: str = "'<f8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


def npz(member: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("data.npy", member)
    return buffer.getvalue()


@pytest.mark.parametrize(("name", "data", "code"), [
    ("a.npy", npy("(1099511627776,)"), "MS613"),
    ("a.txt", npy("(1099511627776,)"), "MS613"),
    ("a.npy", npy("(1,)", "'|O'"), "MS612"),
    ("a.npz", npz(npy("(1099511627776,)")), "MS613"),
    ("a", npz(npy("(1,)", "'|O'")), "MS612"),
    ("a.npz", npz(b"")[:-3], "MS504"),
])  # fmt: skip
def test_arrays_inside_are_looked_at_under_any_name(name: str, data: bytes, code: str, tmp_path: Path) -> None:
    loader = "SparseMatrixNode" if b"PK" in data[:4] else "NdArrayNode"
    kind = "scipy.sparse._csr.csr_matrix" if b"PK" in data[:4] else "numpy.ndarray"
    form = "scipy" if b"PK" in data[:4] else "numpy"
    skops_files.write(skops_files.node(loader, kind, type=form, file=name), tmp_path / "model.skops", (name, data))
    assert refused(tmp_path / "model.skops")[0] == code


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.skops", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("schema.json", b" " * (64 << 20))
    assert refused(tmp_path / "model.skops")[0] == "MS613"


@pytest.mark.parametrize(
    "data",
    [b"\x80\x04]\x94.", b"cos\nsystem\n(S'true'\ntR.", b"7z\xbc\xaf\x27\x1c" + bytes(60), b"\x1f\x8b\x08" + bytes(60)],
)
def test_other_kinds_of_files_are_named(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(data)
    assert refused(tmp_path / "model.skops")[0] == "MS614"


@pytest.mark.parametrize("data", [b"", b"PK\3\4 and no more", b"nothing of the kind"])
def test_damage_is_said(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(data)
    assert refused(tmp_path / "model.skops")[0] == "MS504"


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _nodes(item)


def _with_array(path: Path, change: Callable[[Any], None]) -> None:
    """Change the array of nodes of a saved tree."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    changed = 0
    for name, data in members.items():
        if data.startswith(b"\x93NUMPY"):
            array = np.load(io.BytesIO(data))
            if array.dtype.names and {"left_child", "left"} & set(array.dtype.names):
                change(array)
                buffer = io.BytesIO()
                np.save(buffer, array)
                members[name] = buffer.getvalue()
                changed += 1
    assert changed
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)


@pytest.mark.parametrize(("field", "value"), [
    ("left_child", 10**9), ("left_child", -2), ("left_child", 0), ("right_child", 10**9), ("right_child", 0),
    ("feature", 10**6), ("feature", -5),
])  # fmt: skip
def test_a_tree_that_leads_out_of_itself_is_refused(field: str, value: int, tmp_path: Path) -> None:
    skops.io.dump(RandomForestClassifier(2, max_depth=3).fit(X, Y), tmp_path / "model.skops")
    _with_array(tmp_path / "model.skops", lambda nodes: nodes[field].__setitem__(0, value))
    assert refused(tmp_path / "model.skops") == (
        "MS613",
        "model.skops holds a decision tree whose nodes lead out of it",
    )


@pytest.mark.parametrize(("field", "value"), [("left", 4 * 10**9), ("right", 0)])
def test_a_tree_of_a_histogram_is_looked_at_too(field: str, value: int, tmp_path: Path) -> None:
    skops.io.dump(HistGradientBoostingClassifier(max_iter=2).fit(X, Y), tmp_path / "model.skops")
    _with_array(tmp_path / "model.skops", lambda nodes: nodes[field].__setitem__(0, value))
    assert refused(tmp_path / "model.skops")[0] == "MS613"


def test_the_schema_that_is_checked_is_the_one_that_is_read(tmp_path: Path) -> None:
    """A key twice: both readers take the last."""
    good, evil = (
        json.dumps(made) for made in (skops_files.text(1), skops_files.called("builtins.exec", skops_files.text("1")))
    )
    for first, second in ((good, evil), (evil, good)):
        text = '{"protocol": 2, "__class__": "list", "__module__": "builtins", "__loader__": "ListNode",'
        text += f'"content": [{first}], "content": [{second}]}}'
        with zipfile.ZipFile(tmp_path / "model.skops", "w") as file:
            file.writestr("schema.json", text)
        if second is evil:
            assert refused(tmp_path / "model.skops")[0] == "MS612"
        else:
            assert skops_file.read(tmp_path / "model.skops") == [1]
