"""How much each node alone hurts: the table by which nodes to leave in float are found.

One node is quantized at a time, everything else stays in float, and what is measured is how far the model's outputs
move: |quantized - float| / |float|, in the Euclidean norm over all samples; of several outputs, the largest. This is the
sensitivity analysis of Wu et al., "Integer Quantization for Deep Learning Inference" (arXiv:2004.09602, 5.1), with the
inverse of the signal-to-noise ratio in place of an accuracy, which would take labels. Quantizing all nodes but one would
rank as well, but there the noise of all the others hides the differences between harmless nodes.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

    from modelspec.signature import Signature

    Arrays = Mapping[str, NDArray[Any]]

SAMPLES = 32
"""Rows of data to measure on."""
DIGITS = 6
"""Significant digits of an error: what comes after them is another CPU's order of adding."""


_MARKS = ("DequantizeLinear", "DynamicQuantizeLinear", "MatMulNBits")


@dataclass(frozen=True)
class NodeError:
    """What one node does to the outputs when it alone is quantized."""

    node: str
    op: str
    error: float | None
    """0 when nothing moves; None when the answers are no numbers any more."""
    share: float
    """Of the bytes of all weights, those that this node reads."""


def rank(
    model: "ModelProto",
    nodes: Iterable[str],
    alone: "Callable[[str], ModelProto]",
    calls: "Sequence[Arrays]",
) -> list[NodeError]:
    """Each node that can be quantized, the one that hurts most first; `alone` makes the model in which only that node is,
    and `calls` are the inputs, batch by batch. A node that `alone` leaves as it is has no row."""
    kinds = {node.name: node.op_type for node in model.graph.node}
    found = []
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        expected, before = _answers(model, calls, file), _marks(model)
        for name in nodes:
            changed = alone(name)
            if _marks(changed) > before:
                error = _moved(expected, _answers(changed, calls, file))
                found.append(NodeError(name, kinds.get(name, ""), error, _share(model, name)))
    return sorted(found, key=lambda row: (-math.inf if row.error is None else -row.error, row.node))


def moved(model: "ModelProto", changed: "ModelProto", calls: "Sequence[Arrays]") -> float | None:
    """How far the outputs of a changed model lie from those of the model; None where they are no numbers any more."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        return _moved(_answers(model, calls, file), _answers(changed, calls, file))


def calls_of(inputs: "Arrays", size: int) -> "list[Arrays]":
    """The first samples of a data set, in batches."""
    from modelspec.feed import batches

    return list(batches({name: array[:SAMPLES] for name, array in inputs.items()}, size))


def generated_calls(model: Path, signature: "Signature") -> "list[Arrays]":
    """For want of data, the first generated inputs that the model takes; the last tried where it takes none."""
    from modelspec.errors import ModelspecError
    from modelspec.formats.onnx_session import open_session
    from modelspec.generate import candidates

    made: dict[str, NDArray[Any]] = {}
    session = open_session(model)
    for made in candidates(signature):
        try:
            session.run(made)
        except ModelspecError:
            continue
        break
    return [made]


def _marks(model: "ModelProto") -> int:
    """Nodes that only quantization makes."""
    return sum(node.op_type in _MARKS for node in model.graph.node)


def _answers(model: "ModelProto", calls: "Sequence[Arrays]", file: Path) -> "list[Arrays]":
    """The outputs, batch by batch. Nothing is optimized: what stands between quantize and dequantize runs in float."""
    from modelspec.formats import onnx_model
    from modelspec.formats.onnx_session import open_session

    onnx_model.write(model, file)  # through a file, because weights may be larger than a message may be
    session = open_session(file)
    return [session.run(call) for call in calls]


def _moved(expected: "list[Arrays]", found: "list[Arrays]") -> float | None:
    """The relative error of the output that moved most."""
    import numpy as np

    errors = []
    for name in expected[0]:
        old, new = (np.concatenate([batch[name].ravel() for batch in side]) for side in (expected, found))
        if old.dtype.kind != "f":
            errors.append(float((old != new).mean()) if old.size else 0.0)
            continue
        wide = old.astype(np.float64)
        norm = float(np.linalg.norm(wide))
        errors.append(float(np.linalg.norm(new - wide)) / (norm or 1.0))
    worst = float(np.max(errors, initial=0.0))
    return float(f"{worst:.{DIGITS}g}") if math.isfinite(worst) else None


def _share(model: "ModelProto", name: str) -> float:
    """The share of the weights' bytes that a node reads."""
    sizes = {tensor.name: tensor.ByteSize() for tensor in model.graph.initializer}
    reads = next((set(node.input) for node in model.graph.node if node.name == name), set())
    return round(sum(sizes.get(read, 0) for read in reads) / (sum(sizes.values()) or 1), DIGITS)
