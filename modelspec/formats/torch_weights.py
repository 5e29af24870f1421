"""PyTorch state dicts: tensors only, never code, and no second try with another reader."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelspec.errors import fail

SUFFIXES = (".safetensors", ".pt", ".pth")


def read(path: Path) -> dict[str, Any]:
    """Tensors by name. Raises MS504 for a damaged file, MS612 for one that needs code to be loaded."""
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix not in SUFFIXES:
        raise fail(
            "MS504",
            f"{path.name} is not a kind of weights that is known: {', '.join(SUFFIXES)}",
            help="save them with safetensors.torch.save_file(model.state_dict(), ...)",
            path=("weights",),
        )
    import torch

    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise fail(
            "MS612",
            f"{path.name} holds more than tensors, and loading it could run code",
            help="save model.state_dict() with safetensors.torch.save_file",
            path=("weights",),
        ) from error
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise fail(
            "MS504", f"{path.name} is not a readable state dict: {str(error).splitlines()[0]}", path=("weights",)
        ) from error
    if not isinstance(value, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in value.values()):
        raise fail(
            "MS504",
            f"{path.name} is not a state dict: names with tensors",
            help="save model.state_dict(), not the model",
            path=("weights",),
        )
    return dict(value)


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise fail(
            "MS504",
            f"{path.name} is not a readable safetensors file: {error}",
            help="save the weights again",
            path=("weights",),
        ) from error
