"""What pruning did, as data for metrics.json."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Layer:
    """One layer, each figure before and after."""

    name: str
    shape: list[list[int]]
    parameters: tuple[int, int]
    """Those that stay: neither removed nor made zero."""
    flops: tuple[int, int]
    """Multiplications and additions for one sample, those by zero left out; 0 where they are not known."""
    kept: str
    """Why nothing of it was removed, or ""."""

    @property
    def is_pruned(self) -> bool:
        return self.parameters[1] < self.parameters[0] or self.shape[0] != self.shape[1]


@dataclass(frozen=True)
class Report:
    """All layers with weights, and how many parameters other layers have."""

    layers: list[Layer]
    others: tuple[int, int]

    def as_json(self) -> dict[str, Any]:
        """The totals, then each layer."""
        layers = {}
        for layer in self.layers:
            layers[layer.name] = {
                "shape": layer.shape,
                "parameters": list(layer.parameters),
                "flops": list(layer.flops),
                **({"kept": layer.kept} if layer.kept else {}),
            }
        return {
            "parameters": [self.others[i] + sum(layer.parameters[i] for layer in self.layers) for i in (0, 1)],
            "flops": [sum(layer.flops[i] for layer in self.layers) for i in (0, 1)],
            "layers": layers,
        }
