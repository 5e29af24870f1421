"""Mixed precision: nodes compute in fp16 or bf16, but for those that overflow there, or must stay exact, or are to be left.

Nothing of this is taken from a library: those that install beside this onnx release know fp16 alone, and put weights that
are too large to the largest number without a word.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelspec.errors import fail
from modelspec.quantization import Mixed
from modelspec.stages import _quantize_casts as casts
from modelspec.stages._quantize_spread import Spread, measure

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

    Arrays = Mapping[str, NDArray[Any]]

EXACT = {"fp16": 2048.0, "bf16": 256.0}
"""Up to this, every whole number can be told from the next."""
COUNTING = frozenset({"CumSum", "Range", "GridSample", "Mod"})
"""Operators that count, or compute places."""
SHOWN = 10
"""Nodes that a message names."""


@dataclass(frozen=True)
class Kept:
    """A node that stays in fp32, and why: excluded, overflow, underflow or exact."""

    node: str
    op: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Made:
    """The rewritten model."""

    model: "ModelProto"
    kept: tuple[Kept, ...]
    counts: Mapping[str, int]
    """Nodes that compute in the asked type, by operator."""


def mixed(
    plain: "ModelProto",
    method: Mixed,
    precision: str,
    excluded: Collection[str],
    calls: "Sequence[Arrays]",
    folder: Path,
) -> Made:
    """The model, as `casts.plain` has it, in mixed precision; it is changed in place. Raises MS580 where nodes that are not excluded cannot reach it, MS510 for an empty change."""
    spread = measure(plain, calls, folder)
    floats = {name for name, found in spread.items() if found.dtype == "float32"}
    nodes = {i: node for i, node in enumerate(plain.graph.node) if floats & {*node.input, *node.output}}
    kept = _kept(plain, nodes, spread, method, precision, excluded)
    candidates = {i: node for i, node in nodes.items() if node.name not in kept}
    require_castable(candidates.values(), floats, _opset(plain), precision)
    low = [i for i, node in candidates.items() if _computes(node)]
    made = casts.Casts(plain, floats, low, precision).made()
    counts = Counter(candidates[i].op_type for i in low)
    if not counts:
        raise fail("MS510", f"no node of this graph can compute in {precision}", help="use precision: fp32")
    return Made(made, tuple(kept.values()), counts)


def _opset(model: "ModelProto") -> int:
    from modelspec.formats.onnx_model import opset

    return opset(model)


def _computes(node: "NodeProto") -> bool:
    """Whether a node has an output to be made in another type. One that only reads floats takes them as they are."""
    return node.op_type not in {"Shape", "Size"}


def require_castable(nodes: "Collection[NodeProto]", floats: Collection[str], opset: int, precision: str) -> None:
    """Raise MS580 for nodes whose operator has no such type at this opset."""
    wanted = f"tensor({'float16' if precision == 'fp16' else 'bfloat16'})"
    short = [node for node in nodes if not _castable(node, floats, opset, wanted)]
    if short:
        raise short_fall(
            [(node.name, f"{node.op_type} has no {wanted[7:-1]} at opset {opset}") for node in short], precision
        )


def short_fall(nodes: Sequence[tuple[str, str]], precision: str) -> Exception:
    """MS580 with the list."""
    listed = "; ".join(f"{name!r}: {why}" for name, why in nodes[:SHOWN])
    more = f"; and {len(nodes) - SHOWN} more" if len(nodes) > SHOWN else ""
    names = ", ".join(name for name, _ in nodes[:SHOWN])
    return fail(
        "MS580",
        f"{len(nodes)} node{'s do' if len(nodes) > 1 else ' does'} not reach {precision}: {listed}{more}",
        help=f"leave them in fp32: quantize: {{{precision}: {{method: mixed, exclude: [{names}]}}}}; or raise convert.opset",
        path=("exclude",),
    )


def _castable(node: "NodeProto", floats: Collection[str], opset: int, wanted: str) -> bool:
    """Whether all float outputs can be of that type. Arguments that are always float32 stay so, as scales of Resize."""
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        return False
    made = [(i, name) for i, name in enumerate(node.output) if name in floats]
    if not made:
        read = [casts.formal(node, opset, i) for i, name in enumerate(node.input) if name in floats]
        return all(kind for kind, _ in read)  # an operator that ONNX does not know may do anything
    return all(wanted in casts.formal(node, opset, i, output=True)[1] for i, _ in made)


def _kept(
    model: "ModelProto",
    nodes: "Mapping[int, NodeProto]",
    spread: Mapping[str, Spread],
    method: Mixed,
    precision: str,
    excluded: Collection[str],
) -> dict[str, Kept]:
    """The nodes that stay, by name; the first reason found is told."""
    limit = casts.LARGEST[precision] / method.headroom
    unsafe = casts.unsafe_constants(model, precision)
    found: dict[str, Kept] = {}
    for node in nodes.values():
        for reason, detail in _reasons(node, spread, limit, unsafe, excluded, precision):
            found.setdefault(node.name, Kept(node.name, node.op_type, reason, detail))
    makers = {name: node for node in nodes.values() for name in node.output}
    waiting = [n for n in nodes.values() if found.get(n.name, Kept("", "", "", "")).reason == "exact"]
    while waiting:  # a number that must be exact is so only if what it is made of is
        for name in waiting.pop().input:
            maker = makers.get(name)
            if (
                maker is not None
                and maker.name not in found
                and _is_float(name, spread)
                and spread[name].largest > EXACT[precision]
            ):
                found[maker.name] = Kept(
                    maker.name, maker.op_type, "exact", f"makes {name!r}, up to {spread[name].largest:.3g}"
                )
                waiting.append(maker)
    return found


def _is_float(name: str, spread: Mapping[str, Spread]) -> bool:
    return name in spread and spread[name].dtype == "float32"


def _reasons(
    node: "NodeProto",
    spread: Mapping[str, Spread],
    limit: float,
    unsafe: Mapping[str, str],
    excluded: Collection[str],
    precision: str,
) -> Iterator[tuple[str, str]]:
    """Each reason for which a node stays in fp32, with the figure behind it."""
    if node.name in excluded:
        yield "excluded", "asked for"
    for name in (*node.output, *node.input):
        if name in unsafe:
            yield unsafe[name], f"the constant {name!r}, {spread[name].largest:.3g}"
        elif _is_float(name, spread) and spread[name].largest > limit:
            yield "overflow", f"{name!r} reaches {spread[name].largest:.3g}"
    read = [name for name in node.input if _is_float(name, spread)]
    if node.op_type in COUNTING and read:
        yield "exact", "counts, or computes places"
    whole = [name for name in node.output if name in spread and spread[name].dtype.startswith(("int", "uint"))]
    if node.op_type == "Cast" and read and whole and spread[read[0]].largest > EXACT[precision]:
        yield "exact", f"makes whole numbers up to {spread[read[0]].largest:.3g}"
