"""safetensors files: what the library lets pass and should not is refused first.

The library checks bounds, overlaps and holes. It takes the last of two tensors with one name, and any name at all.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from modelspec.errors import ModelspecError, fail
from modelspec.formats import magic

MAX_HEADER = 32 << 20
MAX_TENSORS = 65_535


def read(path: Path) -> dict[str, Any]:
    """Tensors by name. Raises MS504 for a damaged file, MS613 for an unsafe one, MS614 for one of another kind."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        _check(path)
        return dict(load_file(path))
    except (SafetensorError, RecursionError, ValueError, OSError) as error:
        raise fail(
            "MS504",
            f"{path.name} is not a readable safetensors file: {str(error) or 'its header is nested'}",
            help="save the weights again",
            path=("weights",),
        ) from error


def write(tensors: Mapping[str, Any], path: Path) -> None:
    """Write tensors by name; those that share their memory become copies."""
    from safetensors.torch import save_file

    save_file({name: tensors[name].detach().clone().contiguous() for name in sorted(tensors)}, path)


def _check(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(magic.HEAD)
        # A length may look like the mark of another kind; the brace after it cannot.
        if head[8:9] != b"{" and (kind := magic.kind(head)):
            raise fail(
                "MS614",
                f"{path.name} is {kind}, not a safetensors file",
                help="save the weights with safetensors.torch.save_file",
                path=("weights",),
            )
        length = int.from_bytes(head[:8], "little")
        if length > MAX_HEADER:
            raise ValueError(f"its header would be {length} bytes long")
        file.seek(8)
        header = file.read(length)

    def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise _unsafe(path, f"holds {name[:80]!r} twice")
            found[name] = value
        return found

    tensors = json.loads(header, object_pairs_hook=unique)
    if not isinstance(tensors, dict):
        raise ValueError("its header is no mapping")  # noqa: TRY004 - of the file, not of an argument
    if len(tensors) > MAX_TENSORS:
        raise _unsafe(path, f"counts {len(tensors)} tensors")
    for name in tensors:
        if not name or re.search(r"[\x00-\x1f\x7f\\]|^/|(^|/)\.\.?(/|$)", name):
            raise _unsafe(path, f"has a tensor with the name {name[:80]!r}")


def _unsafe(path: Path, what: str) -> ModelspecError:
    return fail(
        "MS613",
        f"{path.name} {what}",
        help="save model.state_dict() again with safetensors.torch.save_file",
        path=("weights",),
    )
