"""What a float graph computes on inputs that are typical of it: the type and the largest number of each tensor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

    Arrays = Mapping[str, NDArray[Any]]

STANDS_FOR_INFINITY = 1e30
"""A constant beyond this is how exporters write minus infinity, as in the mask of an attention."""


@dataclass(frozen=True)
class Spread:
    """One tensor."""

    dtype: str
    largest: float
    """Of its finite numbers; infinite where it holds none that is finite."""


def measure(model: "ModelProto", calls: "Sequence[Arrays]", folder: Path) -> dict[str, Spread]:
    """Every tensor of the graph, its inputs and constants too; those inside other graphs are not looked at."""
    import onnx

    from modelspec.formats import onnx_model
    from modelspec.formats.onnx_session import open_session

    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output if name]
    del opened.graph.output[:], opened.graph.value_info[:]
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    file = folder / "opened.onnx"
    onnx_model.write(opened, file)
    session = open_session(file)
    ignores = any(_stands_for_infinity(tensor) for tensor in _constants(model).values())
    found = {name: _spread(array, ignores=ignores) for name, array in _constants(model).items()}
    for call in calls:
        for name, array in {**call, **session.run(call)}.items():
            now = _spread(array, ignores=ignores)
            old = found.get(name, now)
            found[name] = Spread(now.dtype, max(old.largest, now.largest))
    return found


def _constants(model: "ModelProto") -> "dict[str, NDArray[Any]]":
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _stands_for_infinity(array: "NDArray[Any]") -> bool:
    import numpy as np

    return array.dtype.kind == "f" and bool((np.abs(array) >= STANDS_FOR_INFINITY).any())


def _spread(array: "NDArray[Any]", *, ignores: bool) -> Spread:
    import numpy as np

    if array.dtype.kind != "f" or not array.size:
        return Spread(str(array.dtype), 0.0)
    sizes = np.abs(array)
    if ignores:
        sizes = sizes[sizes < STANDS_FOR_INFINITY]
    largest = float(np.max(sizes, initial=0.0))
    return Spread(str(array.dtype), largest if np.isfinite(largest) else np.inf)
