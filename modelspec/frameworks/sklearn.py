"""scikit-learn estimators and pipelines, saved with skops: their preprocessing goes into the ONNX file."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from modelspec.errors import fail
from modelspec.framework import ExportOptions, Files, Framework
from modelspec.remote import ProjectFile
from modelspec.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

DEFAULT_OPSET = 20


class Sklearn(Framework):
    """A source that is a scikit-learn estimator."""

    name: ClassVar[str] = "sklearn"
    revision: ClassVar[int] = 1
    packages: ClassVar[tuple[str, ...]] = ("scikit-learn", "skl2onnx", "skops", "onnx", "numpy", "scipy")
    imports: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnxruntime", "sklearn", "skops.io", "skl2onnx")
    infers_signature: ClassVar[bool] = True
    paths: ClassVar[tuple[str, ...]] = ("artifact",)

    framework: Literal["sklearn"] = Field(description="The source is a scikit-learn estimator.", examples=["sklearn"])
    artifact: ProjectFile = Field(description="The estimator, saved with skops.io.dump.", examples=["model.skops"])

    def load(self, files: Files) -> Any:
        """The estimator. Only types of scikit-learn, SciPy and NumPy are made; anything else is MS612."""
        import zipfile

        import skops.io

        path = files.path("artifact")
        if path.suffix in {".pkl", ".pickle", ".joblib"}:
            raise fail(
                "MS612",
                f"{path.name} is a pickle, and loading it could run code",
                help='save the estimator with skops.io.dump(model, "model.skops")',
                path=("artifact",),
            )
        try:
            unknown = [name for name in skops.io.get_untrusted_types(file=path) if not name.startswith(_TRUSTED)]
            if unknown:
                raise fail(
                    "MS612",
                    f"{path.name} holds types beyond scikit-learn's: {', '.join(sorted(unknown)[:3])}",
                    help="build the model of scikit-learn's own estimators",
                    path=("artifact",),
                )
            return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
        except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
            raise fail(
                "MS504",
                f"{path.name} is not a readable skops file: {error}",
                help="save the estimator again with skops.io.dump",
                path=("artifact",),
            ) from error

    def signature(self, model: Any, declared: Signature) -> Signature:
        """One input [batch, features], float32 unless declared; the features are counted by the estimator."""
        count = getattr(model, "n_features_in_", None)
        if count is None:
            raise fail(
                "MS504",
                f"the {type(model).__name__} is not fitted",
                help="fit it before it is saved",
                path=("artifact",),
            )
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
        names = _output_names(model)
        if declared.outputs and set(declared.outputs) != set(names):
            raise fail(
                "MS507",
                f"the outputs are {', '.join(names)}, and the signature names {', '.join(declared.outputs)}",
                help="correct signature.outputs, or leave it out",
                path=("outputs",),
            )
        return Signature(inputs=inputs, outputs=declared.outputs)

    def run(self, model: Any, signature: Signature, inputs: "Arrays") -> "dict[str, NDArray[Any]]":
        import numpy as np

        (x,) = inputs.values()
        if x.dtype.kind == "f":
            # In the precision that estimators are fitted in: some of them refuse any other.
            x = x.astype(np.float64)
        answers = [np.asarray(getattr(model, method)(x)) for method in _methods(model)]
        return dict(zip(_output_names(model), (_plain(answer) for answer in answers), strict=True))

    def export(
        self,
        model: Any,
        signature: Signature,
        options: ExportOptions,
        target: Path,
    ) -> None:
        from modelspec.formats import onnx_model

        proto = _converted(model, signature, options.opset or DEFAULT_OPSET)
        found = onnx_model.opset(proto)
        if options.opset is not None and found != options.opset:
            raise fail(
                "MS506",
                f"the converter reached opset {found}, not {options.opset}",
                help="leave convert.opset out",
                path=("opset",),
            )
        names = _output_names(model)
        # A clusterer's ONNX form also gives distances, which the reference does not.
        del proto.graph.output[len(names) :]
        for value, name in zip(proto.graph.output, names, strict=True):
            _rename(proto, value.name, name)
        onnx_model.write(proto, target)


_TRUSTED = ("sklearn.", "numpy.", "scipy.", "builtins.")


def _methods(model: Any) -> list[str]:
    """What the estimator answers with, in the order of the ONNX outputs."""
    from sklearn.base import is_classifier

    if is_classifier(model):
        return ["predict", "predict_proba"] if hasattr(model, "predict_proba") else ["predict", "decision_function"]
    if method := next((name for name in ("predict", "transform") if hasattr(model, name)), None):
        return [method]
    raise fail("MS504", f"the {type(model).__name__} can neither predict nor transform", path=("artifact",))


def _output_names(model: Any) -> list[str]:
    names = {"predict": "label" if len(_methods(model)) == 2 else "prediction", "predict_proba": "probabilities",
             "decision_function": "scores", "transform": "features"}  # fmt: skip
    return [names[method] for method in _methods(model)]


def _plain(answer: "NDArray[Any]") -> "NDArray[Any]":
    """As ONNX has it: float32 for floats, int64 for integers, text as objects."""
    import numpy as np

    if answer.dtype.kind == "f":
        return answer.astype(np.float32).reshape(len(answer), -1)
    return answer.astype(object) if answer.dtype.kind in "OU" else answer.astype(np.int64)


def _converted(model: Any, signature: Signature, opset: int) -> Any:
    import warnings

    import skl2onnx
    from skl2onnx.common import data_types, exceptions

    ((name, tensor),) = signature.inputs.items()
    kinds = {"float32": data_types.FloatTensorType, "float64": data_types.DoubleTensorType,
             "int64": data_types.Int64TensorType}  # fmt: skip
    if tensor.dtype not in kinds:
        raise fail(
            "MS507",
            f"an estimator cannot take {tensor.dtype}",
            help="use float32, float64 or int64",
            path=("inputs", name),
        )
    types = [(name, kinds[tensor.dtype]([None, model.n_features_in_]))]
    refusals = (
        exceptions.MissingShapeCalculator, exceptions.MissingConverter, RuntimeError, NotImplementedError, ValueError,
        TypeError, AttributeError, NameError, KeyError, IndexError,
    )  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return skl2onnx.convert_sklearn(
                model,
                name="model",
                initial_types=types,
                target_opset={"": opset, "ai.onnx.ml": 3},
                options=_options(model),
            )
    except refusals as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise fail(
            "MS505",
            f"skl2onnx cannot convert {type(model).__name__}: {reason}",
            help="use an estimator that skl2onnx supports",
            path=("artifact",),
        ) from error


def _options(model: Any) -> dict[int, dict[str, bool]] | None:
    """Arrays instead of a list of dictionaries; scores as they are where there are no probabilities."""
    if "probabilities" in _output_names(model):
        return {id(model): {"zipmap": False}}
    if "scores" in _output_names(model):
        last = model.steps[-1][1] if hasattr(model, "steps") else model
        return {id(last): {"raw_scores": True}}
    return None


def _rename(proto: Any, old: str, new: str) -> None:
    for node in proto.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
                elif name == new:
                    names[index] = f"{new}_inner"
    for value in proto.graph.output:
        if value.name == old:
            value.name = new
