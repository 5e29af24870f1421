"""scikit-learn estimators and pipelines, saved with skops or as a trusted pickle: their preprocessing goes into the ONNX file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from modelspec.errors import fail
from modelspec.formats.trust import Trust
from modelspec.framework import ExportOptions, Files, Framework
from modelspec.frameworks import _sklearn_export as exporter
from modelspec.options import refuse
from modelspec.remote import ProjectFile, file_name
from modelspec.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


class Sklearn(Framework):
    """A source that is a scikit-learn estimator."""

    name: ClassVar[str] = "sklearn"
    revision: ClassVar[int] = 2
    packages: ClassVar[tuple[str, ...]] = ("scikit-learn", "skl2onnx", "skops", "onnx", "numpy", "scipy")
    imports: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxruntime", "sklearn", "skops.io", "skl2onnx")
    infers_signature: ClassVar[bool] = True
    paths: ClassVar[tuple[str, ...]] = ("artifact",)

    framework: Literal["sklearn"] = Field(description="The source is a scikit-learn estimator.", examples=["sklearn"])
    artifact: ProjectFile = Field(description="The estimator, saved with skops.io.dump.", examples=["model.skops"])
    trust: Trust | None = Field(
        None,
        description="Digest of the artifact, where it is a pickle (.joblib, .pkl) and you trust whoever made it.",
        examples=["sha256:" + 64 * "0"],
    )

    @field_validator("trust")
    @classmethod
    def _has_effect(cls, value: str | None, info: ValidationInfo) -> str | None:
        artifact = info.data.get("artifact")
        if value is not None and artifact is not None and not _is_pickle(name := file_name(artifact)):
            raise refuse("MS319", f"'trust' has no effect: {name} is no pickle, and runs no code", "remove it")
        return value

    def load(self, files: Files) -> Any:
        """The estimator: of the types that are known when it is a skops file; whatever a trusted pickle makes."""
        from modelspec.formats import pickle_file, skops_file

        path = files.path("artifact")
        model = pickle_file.read(path, self.trust) if _is_pickle(path.name) else skops_file.read(path)
        # A search answers as the best estimator it found.
        return getattr(model, "best_estimator_", model)

    def signature(self, model: Any, declared: Signature) -> Signature:
        """One input [batch, features], float32 unless declared; the features are counted by the estimator."""
        count = _features(model)
        inputs = declared.inputs or {"x": TensorSpec(dtype="float32", shape=("batch", count))}
        if len(inputs) != 1:
            raise fail(
                "MS507",
                f"an estimator has one input, and the signature names {len(inputs)}",
                help="keep one input of shape [batch, features]",
                path=("inputs",),
            )
        ((name, tensor),) = inputs.items()
        if len(tensor.shape) != 2 or tensor.shape[1] not in {count, *(s for s in tensor.shape if isinstance(s, str))}:
            raise fail(
                "MS507",
                f"the estimator takes {count} features, and the input {name!r} has the shape {list(tensor.shape)}",
                help=f"write shape: [batch, {count}]",
                path=("inputs", name, "shape"),
            )
        names = [answer.name for answer in _answers(model)]
        if declared.outputs and set(declared.outputs) != set(names):
            raise fail(
                "MS507",
                f"the outputs are {', '.join(names)}, and the signature names {', '.join(declared.outputs)}",
                help="correct signature.outputs, or leave it out",
                path=("outputs",),
            )
        return Signature(inputs=inputs, outputs=declared.outputs)

    def run(self, model: Any, signature: Signature, inputs: "Arrays") -> "dict[str, NDArray[Any]]":
        """What the estimator answers. Raises MS507 for input that it refuses, and for several answers per sample."""
        import numpy as np

        (x,) = inputs.values()
        if x.dtype.kind == "f":
            # In the precision that estimators are fitted in: some of them refuse any other.
            x = x.astype(np.float64)
        return {answer.name: _answered(model, answer, x) for answer in _answers(model)}

    def export(
        self,
        model: Any,
        signature: Signature,
        options: ExportOptions,
        target: Path,
    ) -> None:
        from modelspec.formats import onnx_model

        ((name, tensor),) = signature.inputs.items()
        outputs = {answer.name: answer.flat for answer in _answers(model)}
        proto = exporter.export(model, name, tensor, outputs, options.opset)
        found = onnx_model.opset(proto)
        if options.opset is not None and found != options.opset:
            raise fail(
                "MS506",
                f"the converter reached opset {found}, not {options.opset}",
                help="leave convert.opset out",
                path=("opset",),
            )
        onnx_model.write(proto, target)


def _is_pickle(name: str) -> bool:
    from modelspec.formats import pickle_file

    return name.lower().endswith(pickle_file.SUFFIXES)


def _features(model: Any) -> int:
    """How many features the estimator takes. Raises MS504 where it does not say."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    kind = type(model).__name__
    count: int | None = getattr(model, "n_features_in_", None)
    if count is not None:
        return count
    try:
        check_is_fitted(model)
    except (NotFittedError, TypeError) as error:
        help_ = "fit it before it is saved"
        raise fail("MS504", f"the {kind} is not fitted", help=help_, path=("artifact",)) from error
    raise fail(
        "MS504",
        f"the {kind} takes something else than rows of features, such as text",
        help="fit an estimator on an array [samples, features]; what makes features of text stays outside",
        path=("artifact",),
    )


@dataclass(frozen=True)
class _Answer:
    """One output: its name, the method that gives it, and whether it is one value per sample, without columns."""

    name: str
    method: str
    flat: bool = False


def _answers(model: Any) -> list[_Answer]:
    """What the estimator answers with, in the order of the ONNX outputs."""
    from sklearn.base import is_classifier, is_regressor

    if is_classifier(model):
        scores = {"predict_proba": "probabilities", "decision_function": "scores"}
        more = next(([_Answer(name, method)] for method, name in scores.items() if hasattr(model, method)), [])
        return [_Answer("label", "predict", flat=True), *more]
    if hasattr(model, "predict"):
        return [_Answer("prediction", "predict", flat=not is_regressor(model))]
    if hasattr(model, "transform"):
        return [_Answer("features", "transform")]
    raise fail("MS504", f"the {type(model).__name__} can neither predict nor transform", path=("artifact",))


def _answered(model: Any, answer: _Answer, x: "NDArray[Any]") -> "NDArray[Any]":
    """As ONNX has it: [samples] of int64 or text, or [samples, columns] of float32."""
    import numpy as np

    found: Any
    try:
        found = getattr(model, answer.method)(x)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise fail(
            "MS507",
            f"the {type(model).__name__} refuses an input of {x.dtype} {list(x.shape)}: {reason}",
            help="correct the signature; or fit the estimator on one array, with its columns chosen by number",
            path=("inputs",),
        ) from error
    if isinstance(found, list) or (answer.flat and np.ndim(found) != 1):
        raise fail(
            "MS505",
            f"the {type(model).__name__} gives several labels per sample, which has no form here",
            help="fit an estimator for each of them, and build each",
            path=("artifact",),
        )
    if answer.flat:
        labels: NDArray[Any] = found.astype(object if found.dtype.kind in "OU" else np.int64)
        return labels
    if answer.method == "decision_function" and found.ndim == 1:
        # Two classes: a column for each, of which the larger is the answer, as for more of them.
        found = np.stack([-found, found], axis=1)
    return np.asarray(found, dtype=np.float32).reshape(len(found), -1)
