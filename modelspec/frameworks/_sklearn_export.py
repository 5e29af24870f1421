"""skl2onnx, brought to one behaviour: arrays as answers, scores as scikit-learn gives them, one rank for each output."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from modelspec.errors import ModelspecError, fail
from modelspec.signature import TensorSpec

if TYPE_CHECKING:
    from onnx import ModelProto

DEFAULT_OPSET = 20


def export(model: Any, name: str, tensor: TensorSpec, outputs: dict[str, bool], opset: int | None) -> "ModelProto":
    """The ONNX model with these outputs; `outputs` says of each whether it is one value per sample, without columns."""
    proto: ModelProto = _converted(model, name, tensor, opset or DEFAULT_OPSET)
    # What the reference does not give either: the distances of a clusterer, the votes of a hard vote.
    del proto.graph.output[len(outputs) :]
    for value, (wanted, flat) in zip(proto.graph.output, outputs.items(), strict=True):
        _rename(proto, value.name, wanted)
        if flat:
            _flatten(proto, value)
    _name_batch(proto, tensor.shape[0])
    return proto


def _converted(model: Any, name: str, tensor: TensorSpec, opset: int) -> Any:
    """In scikit-learn's own precision where trees decide, if converter and runtime can; else as it comes."""
    from modelspec.formats.onnx_session import open_session

    _relax(model)
    if _has_trees(model) and tensor.dtype != "string" and (hasattr(model, "steps") or tensor.dtype == "float64"):
        # Some transformers have no form in double.
        with suppress(ModelspecError):
            proto = _in_double(model, name, tensor, opset)
            open_session(proto.SerializeToString())
            return proto
    return _convert(model, model, name, tensor, opset)


def _has_trees(model: Any) -> bool:
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    return hasattr(last, "tree_") or hasattr(last, "estimators_")


def _in_double(model: Any, name: str, tensor: TensorSpec, opset: int) -> Any:
    """Preprocessing in float64 and trees in float32, as scikit-learn has them. Of round numbers the threshold of a tree
    is often exactly one, and the last bit of a scaled value then decides."""
    import numpy as np
    from skl2onnx.sklapi import CastTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline

    *before, last = model.steps if hasattr(model, "steps") else [("model", model)]
    # The runtime has no imputer in double; and what it does is no arithmetic.
    kept = next((i for i, (_, step) in enumerate(before) if not isinstance(step, SimpleImputer)), len(before))
    double = [("to_double", CastTransformer(dtype=np.float64))] if kept and tensor.dtype != "float64" else []
    single = ("to_single", CastTransformer(dtype=np.float32))
    made = Pipeline([*before[:kept], *double, *before[kept:], single, last])
    if double or tensor.dtype == "float64":
        return _convert(model, made, name, tensor, opset)
    proto = _convert(model, made, name, tensor.model_copy(update={"dtype": "float64"}), opset)
    _cast_input(proto, name, tensor.dtype)
    return proto


def _cast_input(proto: Any, name: str, dtype: str) -> None:
    """Let a graph that takes double take another type."""
    import numpy as np
    from onnx import TensorProto, helper

    for node in proto.graph.node:
        for index, used in enumerate(node.input):
            if used == name:
                node.input[index] = f"{name}_double"
    cast = helper.make_node("Cast", [name], [f"{name}_double"], name="to_double", to=TensorProto.DOUBLE)
    proto.graph.node.insert(0, cast)
    proto.graph.input[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _convert(model: Any, made: Any, name: str, tensor: TensorSpec, opset: int) -> Any:
    """`made`, which wraps `model` or is it, as skl2onnx has it."""
    import warnings

    import skl2onnx
    from skl2onnx.common import data_types

    kinds = {"float32": data_types.FloatTensorType, "float64": data_types.DoubleTensorType,
             "int64": data_types.Int64TensorType, "string": data_types.StringTensorType}  # fmt: skip
    if tensor.dtype not in kinds:
        raise fail(
            "MS507",
            f"an estimator cannot take {tensor.dtype}",
            help="use float32, float64, int64 or string",
            path=("inputs", name),
        )
    types = [(name, kinds[tensor.dtype]([None, model.n_features_in_]))]
    with _refusals(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return skl2onnx.convert_sklearn(
            made,
            name="model",
            initial_types=types,
            target_opset={"": opset, "ai.onnx.ml": 3},
            options=_options(model),
        )


def _relax(model: Any) -> None:
    """The converter refuses the default of an option that only concerns `transform`, which is not exported."""
    for part in (model, *model.get_params().values()):
        if getattr(part, "flatten_transform", False):
            part.flatten_transform = False


def _options(model: Any) -> dict[int, dict[str, bool]]:
    """Arrays instead of a list of dictionaries; scores as they are where there are no probabilities."""
    from skl2onnx._supported_operators import get_model_alias
    from skl2onnx.common._registration import get_converter
    from sklearn.base import is_classifier

    if not is_classifier(model):
        return {}
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    allowed = get_converter(get_model_alias(type(last))).get_allowed_options() or {}
    wanted = {"zipmap": False, "raw_scores": not hasattr(model, "predict_proba")}
    return {id(last): {option: value for option, value in wanted.items() if option in allowed}}


@contextmanager
def _refusals(model: Any) -> Iterator[None]:
    """What the converter raises, as MS505 with the cause: the first error of a chain says what is wrong."""
    from skl2onnx.common import exceptions

    kinds = (
        exceptions.MissingShapeCalculator, exceptions.MissingConverter, RuntimeError, NotImplementedError, ValueError,
        TypeError, AttributeError, NameError, KeyError, IndexError,
    )  # fmt: skip
    try:
        yield
    except kinds as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise fail(
            "MS505",
            f"skl2onnx cannot convert {type(model).__name__}: {reason}",
            help="use an estimator that skl2onnx supports, such as GradientBoosting instead of HistGradientBoosting",
            path=("artifact",),
        ) from error


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


def _flatten(proto: Any, value: Any) -> None:
    """Make an output one value per sample: some converters give a row or a column, and declare neither."""
    import numpy as np
    from onnx import helper, numpy_helper

    name = value.name
    _rename(proto, name, f"{name}_unshaped")
    value.name = name
    shape = numpy_helper.from_array(np.array([-1], dtype=np.int64), f"{name}_shape")
    proto.graph.initializer.append(shape)
    proto.graph.node.append(helper.make_node("Reshape", [f"{name}_unshaped", shape.name], [name], name=f"{name}_flat"))
    del value.type.tensor_type.shape.dim[1:]


def _name_batch(proto: Any, axis: int | str) -> None:
    """The first axis of every output is that of the input."""
    if isinstance(axis, int):
        return
    for value in (*proto.graph.input, *proto.graph.output):
        if value.type.tensor_type.shape.dim:
            dimension = value.type.tensor_type.shape.dim[0]
            dimension.Clear()
            dimension.dim_param = axis
