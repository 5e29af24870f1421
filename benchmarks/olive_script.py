"""What `olive run` needs: the model, its dummy inputs, its calibration data. Read by Olive, not by modelspec."""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from olive.data.registry import Registry  # type: ignore[import-not-found]

PROJECT = Path(os.environ["BENCHMARK_PROJECT"])
sys.path.insert(0, str(PROJECT))


def load_model(_: str | None = None) -> torch.nn.Module:
    """The same model as the example's."""
    build = importlib.import_module("model").build
    if not (PROJECT / "weights.safetensors").exists():
        found: torch.nn.Module = build()
        return found.eval()
    from safetensors.torch import load_file

    model: torch.nn.Module = build(width=16)
    model.load_state_dict(load_file(PROJECT / "weights.safetensors"))
    return model.eval()


def dummy_inputs(_: Any = None) -> Any:
    """Two samples."""
    if (PROJECT / "weights.safetensors").exists():
        return {"image": torch.zeros(2, 1, 8, 8)}
    ids = torch.ones(2, 16, dtype=torch.int64)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


class Calibration(torch.utils.data.Dataset[Any]):
    """The images of the calibration set."""

    def __init__(self) -> None:
        self.images = np.load(PROJECT / "data/calibration.npz")["image"]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return {"image": self.images[index]}, 0


@Registry.register_dataset()  # type: ignore[untyped-decorator]
def calibration_dataset(**_: Any) -> Calibration:
    """By this name the configuration asks for it."""
    return Calibration()
