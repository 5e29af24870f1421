"""Prunes a torch module, and writes what it takes to do so again to the module that the user's code builds."""

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelspec.stages import _prune_structured as structured
from modelspec.stages._prune_options import Magnitude, Structured, TwoFour
from modelspec.stages._prune_report import Layer, Report
from modelspec.stages._prune_sparse import Weight, sparse

if TYPE_CHECKING:
    from torch import Tensor, nn

    Forward = Callable[[nn.Module], Mapping[str, Tensor]]


def prune(
    module: "nn.Module", forward: "Forward", samples: int, method: Structured | Magnitude | TwoFour, folder: Path
) -> Report:
    """Prune the module in place and write it to `folder`. `samples`: how many of them `forward` runs."""
    attributes, before, flops = _attributes(module), _weights(module), _flops(module, forward, samples)
    others = _others(module, before)
    masked: list[str] = []
    if isinstance(method, Structured):
        cuts = structured.prune(module, forward, method)
        removed: Mapping[str, Any] = cuts.removed
        kept = cuts.kept
        after, flops_after = _weights(module), _flops(module, forward, samples)
    else:
        made = sparse([weight for weights in before.values() for weight in weights if weight.values.ndim > 1], method)
        _fill(module, made.values)
        removed, kept, masked = {}, made.kept, sorted(made.values)
        after = _weights(module)
        density = {name: _remaining(after[name], masked, 2) / _remaining(own, rank=2) for name, own in before.items()}
        flops_after = {name: round(value * density.get(name, 1)) for name, value in flops.items()}
    changed = {
        name: {key: value for key, value in now.items() if attributes[name].get(key) != value}
        for name, now in _attributes(module).items()
    }
    recipe = {
        "attributes": {name: values for name, values in changed.items() if values},
        "masked": masked,
        "removed": dict(removed),
    }
    write(module, recipe, folder)
    layers = [
        Layer(
            name,
            [list(weights[0].values.shape), list(after[name][0].values.shape)],
            (_remaining(weights), _remaining(after[name], masked)),
            (flops.get(name, 0), flops_after.get(name, 0)),
            kept.get(name, ""),
        )
        for name, weights in before.items()
    ]
    return Report(layers, (others, _others(module, {name: after[name] for name in before})))


def write(module: "nn.Module", recipe: Mapping[str, Any], folder: Path) -> None:
    """The weights, and what else of the module is not as the user's code builds it."""
    from modelspec.formats import safetensors_file

    safetensors_file.write(module.state_dict(), folder / "weights.safetensors")
    (folder / "changes.json").write_text(json.dumps(recipe, indent=2, sort_keys=True) + "\n")


def _weights(module: "nn.Module") -> dict[str, list[Weight]]:
    """The parameters of torch's own layers, by the layer's name, the largest rank first; those that layers share belong to the
    first. Tables to look up and scales are left out."""
    from torch import nn

    tables = (nn.Embedding, nn.EmbeddingBag)
    found: dict[str, list[Weight]] = {}
    seen: set[int] = set()
    for name, layer in module.named_modules():
        if not type(layer).__module__.startswith("torch.nn.") or isinstance(layer, tables):
            continue
        own = {
            key: p for key, p in layer.named_parameters(recurse=False) if p.is_floating_point() and id(p) not in seen
        }
        seen.update(map(id, own.values()))
        if not any(parameter.ndim > 1 for parameter in own.values()):
            continue
        turned = bool(getattr(layer, "transposed", False))
        found[name] = [
            Weight(f"{name}.{key}" if name else key, name, _array(p), None if turned else 1)
            for key, p in sorted(own.items(), key=lambda item: -item[1].ndim)
        ]
    return found


def _array(parameter: "nn.Parameter") -> Any:
    """A copy; numpy has no bfloat16, whose every value float32 holds."""
    import torch

    tensor = parameter.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy().copy()


def _others(module: "nn.Module", weights: Mapping[str, list[Weight]]) -> int:
    """The parameters that are none of the weights."""
    known = sum(weight.values.size for own in weights.values() for weight in own)
    return sum(parameter.numel() for parameter in module.parameters()) - known


def _remaining(weights: list[Weight], masked: Collection[str] = (), rank: int = 0) -> int:
    """How many weights of at least so many axes there are, without the zeros of what is masked."""
    return sum(
        int((weight.values != 0).sum()) if weight.name in masked else weight.values.size
        for weight in weights
        if weight.values.ndim >= rank
    )


def _fill(module: "nn.Module", values: Mapping[str, Any]) -> None:
    import torch

    own = dict(module.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, array in values.items():
            own[name].copy_(torch.from_numpy(array))


def _flops(module: "nn.Module", forward: "Forward", samples: int) -> dict[str, int]:
    """Multiplications and additions for one sample by layer; "" holds all."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # what is fused is not counted
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        forward(module)
    torch.backends.mha.set_fastpath_enabled(fused)
    root = type(module).__name__
    counts = {name: sum(ops.values()) // samples for name, ops in counter.get_flop_counts().items()}
    found = {name.removeprefix(f"{root}."): count for name, count in counts.items() if name.startswith(f"{root}.")}
    return {**found, "": counts.get(root, counts.get("Global", 0))}


def _attributes(module: "nn.Module") -> dict[str, dict[str, Any]]:
    """The sizes that each layer keeps beside its weights."""
    return {
        name: {key: list(v) if isinstance(v, tuple) else v for key, v in vars(layer).items() if _is_size(v)}
        for name, layer in module.named_modules()
    }


def _is_size(value: Any) -> bool:
    values = value if isinstance(value, tuple) else (value,)
    return bool(values) and all(isinstance(item, int) and not isinstance(item, bool) for item in values)
