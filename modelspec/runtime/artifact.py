"""Reads a published folder: plain files, checked, into values. Nothing here loads the model."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelspec.runtime.errors import INTEGRITY, UNSAFE, USAGE, ServeError
from modelspec.runtime.unpack import PackedFile, packed_files

Arrays = dict[str, NDArray[Any]]

DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64", "string": "BYTES",
}  # fmt: skip
"""The protocol's names of the element types."""

ROUNDING = 0.02
"""Of the largest output: some ten steps of bf16."""
MAX_JSON = 4 << 20
MAX_GOLDEN = 256 << 20


@dataclass(frozen=True)
class Tensor:
    """An input or output of the model, as signature.json has it."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    range: tuple[float, float] | None = None
    labels: tuple[str, ...] = ()
    """Names of the classes along its last axis."""
    weight: int = 1
    """What one element counts: a text is as much as the tokens that it becomes, at most."""

    @property
    def datatype(self) -> str:
        """The protocol's name of its element type."""
        return DATATYPES[self.dtype]

    @cached_property
    def numpy(self) -> np.dtype[Any]:
        """What numpy and the runtime hold it in; text is Python's own."""
        return np.dtype(object) if self.dtype == "string" else np.dtype(self.dtype)

    def __str__(self) -> str:
        sizes = ", ".join(map(str, self.shape))
        limits = f" from {self.range[0]:g} to {self.range[1]:g}" if self.range else ""
        return f"{self.name!r}, {self.datatype} [{sizes}]{limits}"


@dataclass(frozen=True)
class Artifact:
    """All that the server needs to know of a model."""

    model: Path
    name: str
    version: str
    providers: tuple[str, ...]
    session: dict[str, Any]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    golden_inputs: Arrays = field(repr=False)
    golden_outputs: Arrays = field(repr=False)
    rtol: float = 1e-3
    atol: float = 1e-4
    task: str = ""
    provider_options: tuple[dict[str, str], ...] = ()
    """One for each provider."""
    io_binding: bool = False
    packed: tuple[PackedFile, ...] = ()
    """Files that are compressed."""
    tokenizer: dict[str, Any] = field(default_factory=dict)
    """What runtime.json says of it; nothing where the model takes no text."""

    @property
    def own_inputs(self) -> set[str]:
        """The names of what the model itself takes."""
        return {str(each["name"]) for each in self.tokenizer["inputs"]} if self.tokenizer else set(self.inputs)

    def batch_axis(self) -> str | None:
        """The axis that all tensors share as their first, if there is one: along it requests can be joined."""
        first = {tensor.shape[0] if tensor.shape else None for tensor in (*self.inputs.values(), *self.outputs.values())}  # fmt: skip
        axis = first.pop()
        if first or not isinstance(axis, str) or any(axis in tensor.shape[1:] for tensor in self.inputs.values()):
            return None
        return axis


def read(folder: Path, name: str = "", version: str = "") -> Artifact:
    """The artifact in a folder. Raises ServeError when it is not as a build left it."""
    if not folder.is_dir():
        raise ServeError(f"{folder} is no folder: give dist/<name>/<version>/<target>", USAGE)
    _only_plain_files(folder)
    try:
        runtime, signature = _json(folder / "runtime.json"), _json(folder / "signature.json")
        if runtime["formatVersion"] != 1 or runtime["runtime"] != "onnxruntime":
            raise ServeError("runtime.json is for another server", USAGE)
        file = str(runtime["file"])
        packed = packed_files(runtime)
        if Path(file).name != file or not ((folder / file).is_file() or file in {each.path for each in packed}):
            raise ServeError(f"runtime.json names the model {file!r}, which does not lie beside it", USAGE)
        said = _json(folder / "metrics.json") if (folder / "metrics.json").is_file() else {}
        stages = said.get("stages", {})
        parity = stages.get("convert", {}).get("parity", {})
        place = folder.resolve()
        tokenizer = dict(runtime.get("processing", {}).get("tokenizer", {}))
        found = Artifact(
            model=folder / file,
            packed=packed,
            name=name or place.parent.parent.name or "model",
            version=version or place.parent.name or "1",
            providers=tuple(name for name, _ in map(_provider, runtime["providers"])),
            provider_options=tuple(settings for _, settings in map(_provider, runtime["providers"])),
            io_binding=bool(runtime.get("io_binding", False)),
            session=dict(runtime["session"]),
            inputs=_tensors(signature["inputs"], tokenizer),
            outputs=_tensors(signature["outputs"]),
            golden_inputs=_arrays(folder / "golden" / "inputs.npz"),
            golden_outputs=_arrays(folder / "golden" / "outputs.npz"),
            rtol=float(parity.get("rtol", Artifact.rtol)),
            atol=max(float(parity.get("atol", Artifact.atol)), _rounding(runtime, folder)),
            tokenizer=tokenizer,
            task=str(stages.get("evaluate", {}).get("task", "")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, zipfile.BadZipFile) as error:
        raise ServeError(f"{folder} is not as a build left it: {type(error).__name__}: {error}", INTEGRITY) from error
    if set(found.golden_inputs) != set(found.inputs) or set(found.golden_outputs) != set(found.outputs):
        raise ServeError("the golden files do not hold every input and output", INTEGRITY)
    return found


def _provider(said: Any) -> tuple[str, dict[str, str]]:
    """A provider as runtime.json has it: its name, or its name with settings."""
    if isinstance(said, str):
        return said, {}
    name, settings = said
    return str(name), {str(key): str(value) for key, value in settings.items()}


def _rounding(runtime: dict[str, Any], folder: Path) -> float:
    """How far answers in 16 bits may lie apart: the golden ones may be those of another device, which adds otherwise."""
    if runtime.get("precision") not in {"fp16", "bf16"}:
        return 0.0
    outputs = _arrays(folder / "golden" / "outputs.npz").values()
    sizes = [float(np.abs(array).max(initial=0)) for array in outputs if array.dtype.kind == "f"]
    return ROUNDING * max(sizes, default=0.0)


def _only_plain_files(folder: Path) -> None:
    # A link, say of external data, would lead the runtime out of the folder.
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ServeError(f"{path} is no plain file", UNSAFE)


def _json(path: Path) -> Any:
    if path.stat().st_size > MAX_JSON:
        raise ValueError(f"{path.name} is too large")
    value = json.loads(path.read_bytes())
    if not isinstance(value, dict):
        raise TypeError(f"{path.name} is no mapping")
    return value


def _tensors(listed: list[dict[str, Any]], tokenizer: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Tensor]:
    found = {}
    for entry in listed:
        if entry["dtype"] not in DATATYPES:
            raise ValueError(f"the element type {entry['dtype']!r} cannot be served")
        limits = entry.get("range")
        found[entry["name"]] = Tensor(
            name=entry["name"],
            dtype=entry["dtype"],
            shape=tuple(size if isinstance(size, str) else int(size) for size in entry["shape"]),
            range=(float(limits[0]), float(limits[1])) if limits else None,
            labels=tuple(map(str, entry.get("labels", ()))),
            weight=int(tokenizer["max_length"]) if entry["name"] == tokenizer.get("input") else 1,
        )
    return found


def _arrays(path: Path) -> Arrays:
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > MAX_GOLDEN:
            raise ValueError(f"{path.name} is too large")
    with np.load(path, allow_pickle=False) as arrays:
        return {name: array.astype(object) if array.dtype.kind == "U" else array for name, array in arrays.items()}
