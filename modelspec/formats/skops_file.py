"""skops files: estimators made of an allow-list of types, each made in one way only.

skops trusts scikit-learn's public estimators, arrays and ufuncs by itself, and leaves what else a file names to the
caller. A prefix such as `sklearn.` will not do: the names below it include functions that run code or write files, and
classes that other modules were imported into. So each name is listed here with the one kind of node that may make it:
an object whose attributes are restored, never a constructor called with the file's arguments.
"""

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelspec.errors import ModelspecError, fail
from modelspec.formats import archive, magic, npz

_KERNELS = ("ConstantKernel", "WhiteKernel", "RBF", "Matern", "RationalQuadratic", "ExpSineSquared", "DotProduct",
            "PairwiseKernel", "Sum", "Product", "Exponentiation", "CompoundKernel")  # fmt: skip
_METRICS = ("Euclidean", "SEuclidean", "Manhattan", "Chebyshev", "Minkowski", "Mahalanobis", "Hamming", "Canberra",
            "BrayCurtis", "Haversine")  # fmt: skip
_SPLITTERS = ("KFold", "StratifiedKFold", "GroupKFold", "StratifiedGroupKFold", "ShuffleSplit", "StratifiedShuffleSplit",
              "TimeSeriesSplit", "LeaveOneOut", "RepeatedKFold", "RepeatedStratifiedKFold")  # fmt: skip
_SCORES = ("f_classif", "f_regression", "chi2", "r_regression")
_SCORES_BY_INFORMATION = ("mutual_info_classif", "mutual_info_regression")

_OBJECTS = (
    "sklearn._loss.loss.HalfTweedieLoss",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.cluster._bisect_k_means._BisectingTree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    *(f"sklearn.gaussian_process.kernels.{name}" for name in _KERNELS),
    *(f"sklearn.metrics._dist_metrics.{name}Distance{bits}" for name in _METRICS for bits in (32, 64)),
    "sklearn.metrics._scorer._PassthroughScorer",
    *(f"sklearn.model_selection._split.{name}" for name in _SPLITTERS),
    "sklearn.multiclass._ConstantPredictor",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
)
ALLOWED: dict[str, str] = {
    **dict.fromkeys(_OBJECTS, "ObjectNode"),
    **{
        f"scipy.sparse._{kind}.{kind}_{form}": "SparseMatrixNode"
        for kind in ("csr", "csc")
        for form in ("matrix", "array")
    },
    # The scores of SelectKBest and its like: they take arrays and give arrays.
    **{f"sklearn.feature_selection._univariate_selection.{name}": "FunctionNode" for name in _SCORES},
    **{f"sklearn.feature_selection._mutual_info.{name}": "FunctionNode" for name in _SCORES_BY_INFORMATION},
    # What a spline keeps of the array library that it was made with.
    "scipy._lib.array_api_compat.numpy._aliases.asarray": "FunctionNode",
    "numpy.dtype": "DTypeNode",
    "sklearn.tree._tree.Tree": "TreeNode",
    "sklearn.utils._bunch.Bunch": "DictNode",
}
"""Beyond what skops trusts: a name, and the only kind of node that may make it."""


def read(path: Path) -> Any:
    """The estimator. Raises MS612 for types beyond the list, MS613 for an unsafe file, MS504 for a damaged one."""
    import skops.io

    try:
        _check_file(path)
        if unknown := set(skops.io.get_untrusted_types(file=path)) - set(ALLOWED):
            raise _refused(path, unknown)
        model = skops.io.load(path, trusted=list(ALLOWED))
    except (
        zipfile.BadZipFile, zlib.error, struct.error, LookupError, ValueError, TypeError, AttributeError, ImportError,
        OSError, RecursionError,
    ) as error:  # fmt: skip
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise fail(
            "MS504",
            f"{path.name} is not a readable skops file: {reason}",
            help="save the estimator again with skops.io.dump",
            path=("artifact",),
        ) from error
    _check_trees(model, path)
    return model


def _refused(path: Path, names: set[str]) -> ModelspecError:
    return fail(
        "MS612",
        f"{path.name} holds types beyond scikit-learn's: {', '.join(sorted(names)[:3])}",
        help="build the model of scikit-learn's own estimators",
        path=("artifact",),
    )


def _check_file(path: Path) -> None:
    """The archive, every array in it, and the kind of every node that makes a type of the list."""
    with path.open("rb") as file:
        head = file.read(magic.HEAD)
        if not head.startswith(b"PK") and (kind := magic.kind(head)):
            raise fail(
                "MS614",
                f"{path.name} is {kind}, not a skops file",
                help='save the estimator with skops.io.dump(model, "model.skops")',
                path=("artifact",),
            )
        with archive.open_zip(file, path.name) as members:
            for member in members.infolist():
                _check_member(members, member, path.name)
            schema = json.loads(members.read("schema.json"))
    names = {name for name, loader in _nodes(schema) if name in ALLOWED and loader != ALLOWED[name]}
    if names:
        raise _refused(path, names)


def _check_member(members: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> None:
    """An array, by whatever name, holds what it promises; an archive of arrays (a sparse matrix) is sound itself."""
    with members.open(member) as stream:
        start = stream.read(6)
    with members.open(member) as stream:
        if start == b"\x93NUMPY":
            npz.check_header(stream, member.file_size, member.filename, name)
        elif start.startswith(b"PK"):
            # Reads it whole: its size was checked.
            with members.open(member) as inner, archive.open_zip(_buffer(inner.read()), name) as arrays:
                for array in arrays.infolist():
                    with arrays.open(array) as values:
                        npz.check_header(values, array.file_size, array.filename, name)


def _buffer(data: bytes) -> Any:
    import io

    return io.BytesIO(data)


def _nodes(schema: Any) -> Iterator[tuple[str, Any]]:
    """The name and the kind of everything in the schema that looks like a node, wherever it stands."""
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "__class__" in value:
                yield f"{value.get('__module__')}.{value['__class__']}", value.get("__loader__")
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _check_trees(model: Any, path: Path) -> None:
    """Decision trees are read without bounds checks: a child lies behind its node, and a feature is one that exists."""
    import numpy as np

    for made in _objects(model):
        if type(made).__name__ == "Tree" and hasattr(made, "children_left"):
            left, right, feature = made.children_left, made.children_right, made.feature
            inner, features = left != -1, made.n_features
        elif type(made).__name__ == "TreePredictor":
            left, right, feature = (made.nodes[field].astype(np.int64) for field in ("left", "right", "feature_idx"))
            inner, features = made.nodes["is_leaf"] == 0, 2**31
        else:
            continue
        place = np.arange(len(left))
        for child in (left, right):
            good = (child > place) & (child < len(left))
            good &= (feature >= 0) & (feature < features)
            if not good[inner].all():
                raise fail(
                    "MS613",
                    f"{path.name} holds a decision tree whose nodes lead out of it",
                    help="fit the model and save it again",
                    path=("artifact",),
                )


def _objects(model: Any) -> Iterator[Any]:
    """Everything that the model is made of, once."""
    import numpy as np

    waiting, seen = [model], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple | set):
            waiting += value
        elif isinstance(value, np.ndarray):
            waiting += value.ravel().tolist() if value.dtype.kind == "O" else []
        elif hasattr(value, "__dict__") and not isinstance(value, type):
            waiting += vars(value).values()
