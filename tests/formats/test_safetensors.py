"""safetensors files: what the library passes and should not, and what it refuses, said in our words."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from modelspec.errors import ModelspecError
from modelspec.formats import torch_weights


def file(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(start: int, end: int, dtype: str = "F32", shape: list[int] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [(end - start) // 4] if shape is None else shape, "data_offsets": [start, end]}


def read(data: bytes, folder: Path) -> dict[str, Any]:
    (folder / "w.safetensors").write_bytes(data)
    return torch_weights.read(folder / "w.safetensors")


def refused(data: bytes, folder: Path) -> tuple[str, str]:
    with pytest.raises(ModelspecError) as caught:
        read(data, folder)
    (problem,) = caught.value.diagnostics
    assert problem.path == ("weights",)
    assert "\n" not in problem.message
    return problem.code, problem.message


ONE = json.dumps(entry(0, 4))
TAKEN = {
    "duplicate": file(f'{{"a": {ONE}, "a": {ONE}}}'.encode(), bytes(4)),
    "duplicate of another spelling": file(f'{{"a": {ONE}, "\\u0061": {ONE}}}'.encode(), bytes(4)),
    "path in the name": file({"../../x": entry(0, 4)}, bytes(4)),
    "inner path in the name": file({"a/../x": entry(0, 4)}, bytes(4)),
    "absolute name": file({"/etc/x": entry(0, 4)}, bytes(4)),
    "backslash": file({"a\\x": entry(0, 4)}, bytes(4)),
    "NUL in the name": file({"a\0b": entry(0, 4)}, bytes(4)),
    "line break in the name": file({"a\nb": entry(0, 4)}, bytes(4)),
    "only dots": file({"..": entry(0, 4)}, bytes(4)),
    "dot at the end": file({"x/.": entry(0, 4)}, bytes(4)),
    "no name": file({"": entry(0, 4)}, bytes(4)),
    "100,000 empty tensors": file({str(i): entry(0, 0) for i in range(100_000)}),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_the_library_takes_and_should_not_is_refused(name: str, tmp_path: Path) -> None:
    assert refused(TAKEN[name], tmp_path)[0] == "MS613"


def test_the_library_does_take_them(tmp_path: Path) -> None:
    """Why the preflight is there. What fails here, the library has learned to refuse."""
    for data in TAKEN.values():
        (tmp_path / "w.safetensors").write_bytes(data)
        load_file(tmp_path / "w.safetensors")


@pytest.mark.parametrize("data", [
    b"",
    b"\0" * 7,
    file({"a": entry(0, 4)}, bytes(3)),
    file({"a": entry(0, 4)}, bytes(5)),
    file({"a": entry(0, 4)}, bytes(4), length=10_000),
    file({"a": entry(0, 4)}, bytes(4), length=2**63),
    file({"a": entry(0, 4)}, bytes(4), length=200 << 20),
    file(b"not json"),
    file(b"{\xff}"),
    file(b'{"a":' * 100_000),
    file(b"{" * 100_000),
    file(b"[]"),
    file({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)),
    file({"a": entry(0, 4), "b": entry(8, 12)}, bytes(12)),
    file({"a": entry(-4, 0)}, b""),
    file({"a": {**entry(0, 4), "data_offsets": [4, 0]}}, bytes(4)),
    file({"a": {**entry(0, 4), "data_offsets": [0, 2**63]}}, bytes(4)),
    file(f'{{"a": {ONE}}} x'.encode(), bytes(4)),
    file({"a": entry(0, 4, shape=[2**62, 4])}, bytes(4)),
    file({"a": entry(0, 4, shape=[-1])}, bytes(4)),
    file({"a": entry(0, 4, dtype="F128")}, bytes(4)),
    file({"a": 3}),
    file({"__metadata__": {"a": 3}}),
])  # fmt: skip
def test_damage_is_said(data: bytes, tmp_path: Path) -> None:
    assert refused(data, tmp_path)[0] == "MS504"


@pytest.mark.parametrize("data", [
    b"PK\3\4" + bytes(60),
    b"GGUF" + bytes(60),
    b"\x80\x02}q\0.",
    b"cos\nsystem\n(S'true'\ntR.",
    b"7z\xbc\xaf\x27\x1c" + bytes(60),
    bytes(257) + b"ustar\x0000" + bytes(255),
])  # fmt: skip
def test_other_kinds_of_files_are_named(data: bytes, tmp_path: Path) -> None:
    assert refused(data, tmp_path)[0] == "MS614"


@pytest.mark.parametrize("size", [8 * step for step in range(1, 80)])
def test_no_length_of_a_header_is_taken_for_another_kind(size: int, tmp_path: Path) -> None:
    """The first byte of the file runs through all that a length can be."""
    header = json.dumps({"a": entry(0, 4), "__metadata__": {"x": ""}}).encode()
    padded = header + b" " * max(0, size - len(header))
    assert list(read(file(padded, bytes(4)), tmp_path)) == ["a"]


def test_weights_that_are_no_numbers_pass(tmp_path: Path) -> None:
    save_file({"layer.0.weight": torch.full((2, 2), float("nan"))}, tmp_path / "w.safetensors")
    assert torch_weights.read(tmp_path / "w.safetensors")["layer.0.weight"].isnan().all()
