"""Two folders of one target: verdicts by meaning, and nothing that damage can break."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelspec.checks.difference import Difference
from modelspec.formats import npz, onnx_model
from modelspec.targets.cpu import Cpu
from tests.build.published import change_weight
from tests.conftest import RunStage
from tests.stages import graphs

CPU = Cpu(device="cpu")
ROWS = {"x": np.random.default_rng(0).normal(size=(4, 32)).astype(np.float32)}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """The same artifact twice."""
    published = graphs.mlp(tmp_path)
    (published / "golden").mkdir()
    npz.write(published / "golden" / "inputs.npz", ROWS)
    shutil.copytree(published, tmp_path / "rebuilt")
    return {"published": published, "rebuilt": tmp_path / "rebuilt"}


def difference(
    run_stage: RunStage, folders: dict[str, Path], name: str, *, tolerant: bool = False
) -> tuple[str, list[str]]:
    check = Difference(files=(name,), tolerant=(name,) if tolerant else (), rtol=1e-3, atol=1e-4)
    job = run_stage(check, folders, target=CPU)
    (found,) = json.loads((job.output("report") / "report.json").read_text())
    assert found["file"] == name
    return found["verdict"], [f"{one['kind']} {one['name']}" for one in found["findings"]]


def test_a_model_serialized_in_another_way(run_stage: RunStage, folders: dict[str, Path]) -> None:
    proto = onnx_model.read(folders["rebuilt"] / "model.onnx")
    proto.graph.doc_string = "words"
    (folders["rebuilt"] / "model.onnx").write_bytes(proto.SerializeToString())
    assert difference(run_stage, folders, "model.onnx") == ("equivalent", [])


@pytest.mark.parametrize(("by", "tolerant", "verdict"), [
    (None, False, "different"), (None, True, "within tolerance"), (0.5, True, "different"),
])  # fmt: skip
def test_a_changed_weight(run_stage: RunStage, folders: dict[str, Path], by: float | None, tolerant: bool, verdict: str) -> None:  # fmt: skip
    change_weight(folders["rebuilt"] / "model.onnx", "w2", by=by)
    said, found = difference(run_stage, folders, "model.onnx", tolerant=tolerant)
    assert said == verdict
    assert found[0] == "initializer w2"
    assert by is None or found[1:] == ["output logits"]


def test_a_weight_that_no_golden_row_reaches_is_named_all_the_same(
    run_stage: RunStage, folders: dict[str, Path]
) -> None:
    npz.write(folders["published"] / "golden" / "inputs.npz", {"x": np.zeros((1, 32), np.float32)})
    change_weight(folders["rebuilt"] / "model.onnx", "w1", by=0.5)
    assert difference(run_stage, folders, "model.onnx", tolerant=True) == ("different", ["initializer w1"])


def test_weights_in_a_second_file(run_stage: RunStage, folders: dict[str, Path]) -> None:
    """The file of the weights differs, and the model that they belong to is what is compared."""
    for folder in folders.values():
        onnx_model.write(onnx_model.read(folder / "model.onnx"), folder / "model.onnx", external_bytes=1000)
    data = folders["rebuilt"] / "model.onnx.data"
    weights = bytearray(data.read_bytes())
    weights[3] ^= 0x40
    data.write_bytes(bytes(weights))
    verdict, found = difference(run_stage, folders, "model.onnx.data")
    assert verdict == "different"
    assert found[0].startswith("initializer w")


def test_damaged_golden_inputs_do_not_hide_the_weight(run_stage: RunStage, folders: dict[str, Path]) -> None:
    (folders["published"] / "golden" / "inputs.npz").write_bytes(b"PK")
    change_weight(folders["rebuilt"] / "model.onnx", "w1", by=0.5)
    assert difference(run_stage, folders, "model.onnx", tolerant=True) == ("different", ["initializer w1", "output "])


@pytest.mark.parametrize(("name", "old", "new"), [
    ("model.onnx", b"\x08", b"\x08"), ("a.npz", b"PK", b"PK"), ("a.json", b"{", b"{}"), ("a.json", b"[" * 100_000, b"[]"),
])  # fmt: skip
def test_what_cannot_be_read_is_different(run_stage: RunStage, folders: dict[str, Path], name: str, old: bytes, new: bytes) -> None:  # fmt: skip
    (folders["published"] / name).write_bytes(old)
    (folders["rebuilt"] / name).write_bytes(new)
    assert difference(run_stage, folders, name, tolerant=True) == ("different", ["file "])


@pytest.mark.parametrize(("name", "old", "new", "expected"), [
    ("a.json", b'{"b":1,"a":2}', b'{"a": 2, "b": 1}', ("equivalent", [])),
    ("a.json", b'{"a": 2}', b'{"a": 2.001}', ("within tolerance", ["key a"])),
    ("a.txt", b"one\n", b"two\n", ("different", ["line ", "line "])),
])  # fmt: skip
def test_other_files(run_stage: RunStage, folders: dict[str, Path], name: str, old: bytes, new: bytes, expected: Any) -> None:  # fmt: skip
    (folders["published"] / name).write_bytes(old)
    (folders["rebuilt"] / name).write_bytes(new)
    assert difference(run_stage, folders, name, tolerant=True) == expected


def test_the_plan_of_a_device_is_judged_by_its_answers(run_stage: RunStage, folders: dict[str, Path]) -> None:
    """Where the bytes are not reproducible by nature, which is when the tolerance is granted."""
    for side, data in (("published", b"\xff\x01"), ("rebuilt", b"\xff\x02")):
        (folders[side] / "model.plan").write_bytes(data)
    assert difference(run_stage, folders, "model.plan") == ("different", ["file "])
    assert difference(run_stage, folders, "model.plan", tolerant=True) == ("within tolerance", ["file "])
    change_weight(folders["rebuilt"] / "model.onnx", "w2", by=0.5)
    assert difference(run_stage, folders, "model.plan", tolerant=True) == ("different", ["file ", "output logits"])
