"""State dicts of PyTorch: tensors only, unless the file is trusted by its digest.

There is no fallback: a file that the safe reader refuses is refused, and the other reader sees only what `trust` names.
"""

import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelspec.errors import ModelspecError, fail
from modelspec.formats import archive, magic, safetensors_file, trust

SUFFIXES = (".safetensors", ".pt", ".pth")

_LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""How torch.save began its files before it wrote archives."""

_DAMAGE = (
    RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, AssertionError, OSError, struct.error,
    zipfile.BadZipFile, ImportError,
)  # fmt: skip


def read(path: Path, trusted: str | None = None) -> dict[str, Any]:
    """Tensors by name. Raises MS504 for a damaged file, MS612 and MS615 for one that could run code and is not trusted,
    MS613 and MS614 for one that is unsafe to open, MS319 for trust without effect."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise _wrong(
            path,
            f"is not a kind of weights that is known: {', '.join(SUFFIXES)}",
            "save them with safetensors.torch.save_file(model.state_dict(), ...)",
        )
    value = None
    if suffix == ".safetensors":
        value = safetensors_file.read(path)
    elif not _is_program(path):
        value = _read_tensors(path)
    if value is None:
        trust.require(path, trusted, why="holds more than tensors",
                      instead="save model.state_dict() with safetensors.torch.save_file", field="weights")  # fmt: skip
        value = _read_trusted(path)
    elif trusted is not None:
        raise fail(
            "MS319",
            f"'trust' has no effect: {path.name} holds tensors only, and is loaded as such",
            help="remove it",
            path=("trust",),
        )
    return _state_dict(path, value)


def _wrong(path: Path, what: str, help: str = "") -> ModelspecError:
    return fail("MS504", f"{path.name} {what}", help=help, path=("weights",))


def _is_program(path: Path) -> bool:
    """Whether this is a TorchScript archive. Raises MS504, MS613 or MS614 for what torch.save did not write."""
    with path.open("rb") as file:
        head = file.read(magic.HEAD)
        if head.startswith(_LEGACY):
            return False
        if not head.startswith(b"PK\3\4"):
            if kind := magic.kind(head):
                raise fail(
                    "MS614",
                    f"{path.name} is {kind}, not a file that torch.save writes",
                    help="save model.state_dict() with safetensors.torch.save_file",
                    path=("weights",),
                )
            raise _wrong(path, "is not a file that torch.save writes", "fetch or save the weights again")
        try:
            with archive.open_zip(file, path.name) as members:
                return any(name.endswith("/constants.pkl") for name in members.namelist())
        except (zipfile.BadZipFile, struct.error, ValueError) as error:
            raise _wrong(path, f"is not a readable archive: {error}", "fetch or save the weights again") from error


def _read_tensors(path: Path) -> Any:
    """What the safe reader makes of the file; None when it would have to run code."""
    try:
        return _load(path, weights_only=True)
    except pickle.UnpicklingError:
        return None
    except _DAMAGE as error:
        raise _wrong(path, f"is not a readable state dict: {_reason(error)}") from error


def _read_trusted(path: Path) -> Any:
    """The one place where a file of torch may run code; its digest was compared."""
    import torch

    try:
        value = _load(path, weights_only=False)
    except (*_DAMAGE, pickle.UnpicklingError) as error:
        raise _wrong(
            path,
            f"is trusted, and cannot be loaded: {_reason(error)}",
            "declare the code that it needs in source.code; or save model.state_dict() instead",
        ) from error
    return value.state_dict() if isinstance(value, torch.nn.Module) else value


def _load(path: Path, *, weights_only: bool) -> Any:
    import torch

    with warnings.catch_warnings():
        # Of unusual versions of pickle, and of TorchScript: what comes of them is checked here.
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=weights_only)


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _state_dict(path: Path, value: Any) -> dict[str, Any]:
    import torch

    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) and tensor.layout is torch.strided
        for name, tensor in value.items()
    ):
        raise _wrong(
            path,
            "is not a state dict: names with dense tensors",
            "save model.state_dict(), not the model or a checkpoint",
        )
    return dict(value)
