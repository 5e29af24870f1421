"""safetensors files: what the library accepts and should not, and what it refuses, each with a code."""

import json
import struct
from pathlib import Path

import pytest

from modelspec.errors import ModelspecError
from modelspec.formats import safetensors_file

ONE = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
EMPTY = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'


def write(path: Path, header: str, data: bytes = bytes(4)) -> Path:
    path.write_bytes(struct.pack("<Q", len(header.encode())) + header.encode() + data)
    return path


def refused(path: Path) -> str:
    with pytest.raises(ModelspecError) as caught:
        safetensors_file.read(path)
    return caught.value.diagnostics[0].code


def test_a_plain_file_is_read(tmp_path: Path) -> None:
    assert list(safetensors_file.read(write(tmp_path / "w.safetensors", f'{{"w":{ONE}}}'))) == ["w"]


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/../b", "a\\u0000b", "a\\nb", "", "a\\\\b", "..", "x/."])
def test_names_that_could_be_paths_or_lines_are_refused(name: str, tmp_path: Path) -> None:
    assert refused(write(tmp_path / "w.safetensors", f'{{"{name}":{ONE}}}')) == "MS613"


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    assert refused(write(tmp_path / "w.safetensors", f'{{"w":{ONE},"w":{ONE}}}')) == "MS613"


def test_a_hundred_thousand_tensors_are_refused(tmp_path: Path) -> None:
    header = "{" + ",".join(f'"t{index}":{EMPTY}' for index in range(100_000)) + "}"
    assert refused(write(tmp_path / "w.safetensors", header, b"")) == "MS613"


@pytest.mark.parametrize("header", ["", "[]", "{", "null", '{"w":1}', f'{{"w":{ONE}}} x', '{"a":' * 100_000])
def test_a_header_that_is_none_is_damage(header: str, tmp_path: Path) -> None:
    assert refused(write(tmp_path / "w.safetensors", header)) == "MS504"


@pytest.mark.parametrize("change", [
    {"data_offsets": [0, 8]}, {"data_offsets": [4, 0]}, {"data_offsets": [-4, 0]}, {"shape": [-1]}, {"shape": [2]},
    {"dtype": "F99"}, {"data_offsets": [0, 2**63]}, {"shape": [2**62, 4]}, {"data_offsets": [1, 5]},
])  # fmt: skip
def test_bounds_that_do_not_hold_are_damage(change: dict[str, object], tmp_path: Path) -> None:
    header = json.dumps({"w": {**json.loads(ONE), **change}})
    assert refused(write(tmp_path / "w.safetensors", header)) == "MS504"


@pytest.mark.parametrize("data", [b"", b"\0" * 7, struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 1 << 40) + b"{}"])
def test_lengths_that_lie_are_damage(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(data)
    assert refused(tmp_path / "w.safetensors") == "MS504"


@pytest.mark.parametrize("data", [b"PK\3\4" + bytes(60), b"\x80\x04]\x94.", b"GGUF" + bytes(60)])
def test_another_kind_of_file_is_named(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(data)
    assert refused(tmp_path / "w.safetensors") == "MS614"
