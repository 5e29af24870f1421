"""The one place that calls Torch-Pruning: which layers depend on each other, and cutting them together.

The library finds the groups and cuts; how many outputs go, and which, is decided here: its own rounding takes half of a
layer of 16 where a tenth was asked for.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modelspec.errors import ModelspecError, fail
from modelspec.stages import _prune_layers as layers
from modelspec.stages._prune_heads import split
from modelspec.stages._prune_options import Structured

if TYPE_CHECKING:
    from torch import Tensor, nn

    Forward = Callable[[nn.Module], Mapping[str, Tensor]]

_REFUSALS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError)
"""What a library or a module raises over a structure that it does not know."""


@dataclass
class Cuts:
    """What was removed: the outputs of each layer by index, and why the other layers keep all of theirs."""

    removed: dict[str, list[int]] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)


def prune(module: "nn.Module", forward: "Forward", method: Structured) -> Cuts:
    """Cut the module in place. Raises MS531 and MS532 for patterns, MS533 for a module that cannot be traced."""
    import torch

    for parameter in module.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)  # what is frozen would not be traced
    names = {layer: name for name, layer in module.named_modules() if isinstance(layer, _kinds())}
    left_out = layers.excluded(method.exclude, names.values())
    shares = layers.shares(method.layers, method.sparsity, [name for name in names.values() if name not in left_out])
    with torch.no_grad():
        shapes = _shapes(forward(module))
    cuts = Cuts(kept=dict.fromkeys(sorted(left_out), "excluded"))
    graph = _traced(module, forward)
    in_parts = split(module, forward, names)
    done: set[Any] = set()
    while (root := _next_root(graph, names, done)) is not None:
        group = _whole(graph, root)
        members = [names[layer] for layer in _shrinking(graph, group) if layer in names]
        done.update([root, *(layer for layer in _shrinking(graph, group) if layer in names)])
        reason = _tied(members, left_out, in_parts)
        indices: list[int] = []
        if not reason:
            indices, reason = _chosen(group, members, shares, method)
        if indices:
            before = _state(module)
            removed, reason = _cut(graph, group, indices, names)
            reason = reason or _broken(module, forward, shapes)
            if reason:
                _restore(before)
                graph = _traced(module, forward)
            else:
                cuts.removed |= removed
        cuts.kept |= {name: reason for name in members if reason and name not in cuts.kept}
    unseen = "it is no layer of its own in the forward pass"
    cuts.kept |= {name: unseen for name in names.values() if name not in cuts.removed and name not in cuts.kept}
    layers.require_effect(method.layers, cuts.removed, cuts.kept)
    return cuts


def _kinds() -> tuple[type, ...]:
    from torch import nn

    return (nn.modules.conv._ConvNd, nn.Linear, nn.MultiheadAttention)


def _shapes(outputs: "Mapping[str, Tensor]") -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in outputs.items()}


def _traced(module: "nn.Module", forward: "Forward") -> Any:
    import torch_pruning

    def outputs(model: "nn.Module", _: Any) -> "list[Tensor]":
        found = [tensor for tensor in forward(model).values() if tensor.grad_fn is not None]
        if not found:
            raise ValueError("no output of the module has a gradient")
        return found

    try:
        return torch_pruning.DependencyGraph().build_dependency(module, (), forward_fn=outputs, verbose=False)
    except ModelspecError:
        raise
    except _REFUSALS as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise fail(
            "MS533",
            f"the layers' dependencies cannot be found: {first}",
            help="use method: magnitude; the log has the line at fault",
            path=("method",),
        ) from error


def _next_root(graph: Any, names: Mapping[Any, str], done: set[Any]) -> Any:
    """The next layer, in the order of the forward pass, whose outputs may be cut."""
    return next((layer for layer in graph.module2node if layer in names and layer not in done), None)


def _whole(graph: Any, root: Any) -> Any:
    pruner = graph.get_pruner_of_module(root)
    return graph.get_pruning_group(root, pruner.prune_out_channels, list(range(pruner.get_out_channels(root))))


def _shrinking(graph: Any, group: Any) -> list[Any]:
    """The layers that lose outputs with the group."""
    return [dep.target.module for dep, _ in group if graph.is_out_channel_pruning_fn(dep.handler)]


def _tied(members: list[str], left_out: set[str], in_parts: set[str]) -> str:
    """Why layers that shrink together may not, or ""."""
    if tied := sorted(left_out.intersection(members)):
        return f"it is as wide as {tied[0]}, which is excluded"
    if divided := sorted(in_parts.intersection(members)):
        return f"the outputs of {divided[0]} are split into parts, such as heads"
    return ""


def _chosen(group: Any, members: list[str], shares: Mapping[str, float], method: Structured) -> tuple[list[int], str]:
    """The outputs that count least, or why none is to go."""
    asked = {name: shares[name] for name in members if name in shares}
    if len(set(asked.values())) > 1:
        one, two = sorted(asked, key=lambda name: asked[name])[:: len(asked) - 1]
        raise fail(
            "MS532",
            f"{one!r} and {two!r} must have as many outputs as each other, and are to lose {asked[one]:g} and {asked[two]:g}",
            help="give both one share",
            path=("layers",),
        )
    if not asked:
        return [], "no share is given for it"
    indices = _least(group, next(iter(asked.values())), method)
    return indices, "" if indices else f"rounded to a multiple of {method.round_to}, as many outputs as before remain"


def _cut(graph: Any, group: Any, indices: list[int], names: Mapping[Any, str]) -> tuple[dict[str, list[int]], str]:
    """Remove outputs of the group's layers; returns which of each layer, or why it did not go well."""
    try:
        smaller = graph.get_pruning_group(group[0].dep.target.module, group[0].dep.handler, indices)
        if not graph.check_pruning_group(smaller):
            return {}, "a layer that depends on it would have nothing left"
        smaller.prune(record_history=False)
    except _REFUSALS as error:
        return {}, f"it cannot be cut: {str(error) or type(error).__name__}"
    removed = {
        names[dep.target.module]: sorted(map(int, found))
        for dep, found in smaller
        if dep.target.module in names and graph.is_out_channel_pruning_fn(dep.handler)
    }
    return removed, ""


def _least(group: Any, share: float, method: Structured) -> list[int]:
    """The outputs to remove. Groups of a convolution and heads of an attention all lose the same of theirs."""
    import torch
    import torch_pruning

    power = 1 if method.criterion == "l1" else 2
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=power, normalizer=None)(group)
    count = len(group[0].idxs)
    parts = _parts(group)
    unit = math.lcm(method.round_to, parts)
    kept = max(1, math.floor(count * (1 - share) / unit + 0.5)) * unit  # the nearest; of two, the larger
    if importance is None or len(importance) != count or count % parts or kept >= count:
        return []
    per_part = importance.reshape(parts, count // parts).sum(0)
    least = torch.argsort(per_part, stable=True)[: (count - kept) // parts].tolist()
    return sorted(part * (count // parts) + index for part in range(parts) for index in least)


def _parts(group: Any) -> int:
    """Into how many equal parts the outputs fall that must stay equal."""
    from torch import nn

    found = 1
    for dep, _ in group:
        layer = dep.target.module
        if isinstance(layer, nn.MultiheadAttention):
            found = math.lcm(found, layer.num_heads)
        elif isinstance(layer, nn.GroupNorm):
            found = math.lcm(found, layer.num_groups)
        elif isinstance(layer, nn.modules.conv._ConvNd) and not layer.groups == layer.out_channels == layer.in_channels:
            found = math.lcm(found, layer.groups)
    return found


def _broken(module: "nn.Module", forward: "Forward", shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Why the module may not stay as it is now, or ""."""
    import torch

    try:
        with torch.no_grad():
            outputs = _shapes(forward(module))
    except (ModelspecError, *_REFUSALS):
        return "the module does not run without its outputs"
    return "" if outputs == shapes else "it makes the model's outputs"


def _state(module: "nn.Module") -> list[tuple[Any, dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """All that a cut may change, by reference: cuts put new tensors in the place of the old ones."""
    return [(m, dict(m.__dict__), dict(m._parameters), dict(m._buffers)) for m in module.modules()]


def _restore(state: list[tuple[Any, dict[str, Any], dict[str, Any], dict[str, Any]]]) -> None:
    for layer, attributes, parameters, buffers in state:
        layer.__dict__.update(attributes)
        layer._parameters.clear()
        layer._parameters.update(parameters)
        layer._buffers.clear()
        layer._buffers.update(buffers)
