"""The structure of an ONNX model: names, order, functions and operators, before the library or the runtime see it."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from modelspec.errors import ModelspecError, fail
from modelspec.formats.onnx_parts import Parts, shown, subgraphs

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

    Function = tuple[str, str, str]

MAX_NODES = 10_000_000
"""How many nodes a model may have when the calls of its functions are written out."""

_BUILT_IN = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"}
"""Domains of which ONNX Runtime brings operators on the CPU."""


def check(model: "ModelProto", parts: Parts) -> None:
    """Raises MS504 for a malformed graph, MS613 for functions that never end, MS513 for operators of strangers."""
    _check_names(model, parts)
    _check_functions(model)
    _check_operators(model, parts)
    _check_order(model.graph, set())
    for function in model.functions:
        known = set(function.input)
        _check_nodes(function.node, known, set(known))
        _require_made(function.output, known, f"the function {shown(function.name)}")


def _malformed(what: str) -> ModelspecError:
    return fail("MS504", f"not a sound ONNX model: {what}", help="export the model again")


def _check_names(model: "ModelProto", parts: Parts) -> None:
    """No control characters anywhere. One search over all names is fast; the second is for the message."""
    control = re.compile(r"[\x00-\x1f\x7f]")
    names = list(_names(model, parts))
    try:
        joined = "".join(names)
    except TypeError as error:
        # Protobuf hands out bytes for what is not UTF-8.
        raise _malformed("a name that is not UTF-8") from error
    if control.search(joined):
        raise _malformed(
            f"a control character in the name {shown(next(name for name in names if control.search(name)))}"
        )
    for graph in parts.graphs:
        weights = [*(tensor.name for tensor in graph.initializer), *(s.values.name for s in graph.sparse_initializer)]
        for kind, found in (
            ("input", [value.name for value in graph.input]),
            ("output", [value.name for value in graph.output]),
            ("initializer", weights),
        ):
            if "" in found:
                raise _malformed(f"an {kind} without a name")
            # A branch may give one value twice; the model's outputs are told apart by their names.
            inner = kind == "output" and graph is not parts.graphs[0]
            if not inner and (twice := _twice(found)):
                raise _malformed(f"two of its {kind}s have the name {shown(twice)}")
    # Exporters repeat an import; what counts is that they say one thing.
    versions = {(_domain(entry.domain), entry.version) for entry in model.opset_import}
    if twice := _twice(domain or "ai.onnx" for domain, _ in versions):
        raise _malformed(f"it imports two versions of {shown(twice)}")


def _twice(names: Iterable[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _names(model: "ModelProto", parts: Parts) -> Iterator[str]:
    for entry in model.opset_import:
        yield entry.domain
    for function in model.functions:
        yield from (
            function.name,
            function.domain,
            function.overload,
            *function.input,
            *function.output,
            *function.attribute,
        )
    for graph in parts.graphs:
        yield graph.name
        for value in (*graph.input, *graph.output):
            yield value.name
            yield from (axis.dim_param for axis in value.type.tensor_type.shape.dim)
    yield from (tensor.name for tensor in parts.tensors)
    for node in parts.nodes:
        yield from (node.name, node.op_type, node.domain)
        yield from node.input
        yield from node.output
        for attribute in node.attribute:
            yield attribute.name


def _check_order(graph: "GraphProto", known: set[str]) -> None:
    """Every value is made once, before it is used. Protobuf bounds how deep graphs lie in each other.

    `known` is what can be seen from the graph; it is left as it was, since a copy for each graph would take too long.
    """
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {sparse.values.name for sparse in graph.sparse_initializer}
    added = own - known
    known |= added
    added |= _check_nodes(graph.node, known, own)
    _require_made((value.name for value in graph.output), known, "the graph")
    known -= added


def _check_nodes(nodes: "Sequence[NodeProto]", known: set[str], made: set[str]) -> set[str]:
    """Adds to `known` and to `made` (of this graph alone) what the nodes make; returns what was not known before."""
    added: set[str] = set()
    for node in nodes:
        for name in node.input:
            if name and name not in known:
                raise _disordered(nodes, node, name)
        for attribute in node.attribute:
            for graph in subgraphs(attribute):
                _check_order(graph, known)
        for name in node.output:
            if name in made:
                raise _malformed(f"{shown(name)} is made twice")
            if name:
                made.add(name)
            if name and name not in known:
                added.add(name)
                known.add(name)
    return added


def _require_made(names: Iterable[str], known: set[str], where: str) -> None:
    if missing := next((name for name in names if name not in known), None):
        raise _malformed(f"{where} gives {shown(missing)}, which nothing makes")


def _disordered(nodes: "Sequence[NodeProto]", node: "NodeProto", name: str) -> ModelspecError:
    """Why a value is not there when a node needs it."""
    makers = {output: index for index, other in enumerate(nodes) for output in other.output if output}
    needs = {index: {makers[i] for i in other.input if i in makers} for index, other in enumerate(nodes)}
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        circle = [nodes[index] for index in error.args[1][:4]]
        return _malformed(f"a cycle of nodes: {', '.join(shown(other.name or other.op_type) for other in circle)}")
    called = shown(node.name or node.op_type)
    if name in makers:
        return _malformed(f"the node {called} stands before the one that makes its input {shown(name)}")
    return _malformed(f"the node {called} needs {shown(name)}, which nothing makes")


def _all_nodes(nodes: "Iterable[NodeProto]") -> "Iterator[NodeProto]":
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            for graph in subgraphs(attribute):
                waiting += graph.node


def _named(function: "FunctionProto") -> "Function":
    return (_domain(function.domain), function.name, function.overload)


def _called(node: "NodeProto") -> "Function":
    return (_domain(node.domain), node.op_type, node.overload)


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _check_functions(model: "ModelProto") -> None:
    """No function calls itself, however indirectly, and the calls do not multiply without end."""
    if not model.functions:
        return
    known = {_named(function): function for function in model.functions}
    if len(known) < len(model.functions):
        raise _malformed("two of its functions have one name")
    calls = {name: Counter(_called(node) for node in _all_nodes(known[name].node)) for name in known}
    order: list[Function] = []
    try:
        order += TopologicalSorter({name: [c for c in calls[name] if c in known] for name in known}).static_order()
    except CycleError as error:
        circle = ", ".join(shown(name) for _, name, _ in error.args[1][:4])
        raise fail("MS613", f"functions of the model call each other in a circle: {circle}") from error
    sizes: dict[Function, int] = {}
    for name in order:
        sizes[name] = min(sum(count * sizes.get(c, 1) for c, count in calls[name].items()), MAX_NODES + 1)
    if sum(sizes.get(_called(node), 1) for node in _all_nodes(model.graph.node)) > MAX_NODES:
        raise fail(
            "MS613", f"the model's functions come to more than {MAX_NODES:,} nodes", help="export it without them"
        )


def _check_operators(model: "ModelProto", parts: Parts) -> None:
    """Every operator is the runtime's or a function of the model, of a version that is known."""
    import onnx

    functions = {_named(function) for function in model.functions}
    strange = [node for node in parts.nodes if node.domain not in _BUILT_IN]
    foreign = {_called(node)[:2] for node in strange if _called(node) not in functions}
    if foreign:
        names = ", ".join(shown(f"{domain}:{name}") for domain, name in sorted(foreign)[:3])
        raise fail(
            "MS513",
            f"custom operators, which ONNX Runtime has not: {names}",
            help="export the model with standard operators, or with these as functions of the model",
        )
    newest = onnx.defs.onnx_opset_version()
    imports = [*model.opset_import, *(entry for function in model.functions for entry in function.opset_import)]
    asked = max((entry.version for entry in imports if not _domain(entry.domain)), default=0)
    if asked > newest:
        raise fail(
            "MS513",
            f"the model is of opset {asked}, and opset {newest} is the newest that is known here",
            help="export it for an older opset, or install newer onnx and onnxruntime",
        )
