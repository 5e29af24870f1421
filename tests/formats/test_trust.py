"""Files that can run code: refused unread, unless the spec names them by their digest."""

import contextlib
import gzip
import io
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelspec import digest
from modelspec.errors import Diagnostic, ModelspecError
from modelspec.formats import magic, npz, pickle_file, skops_file, torch_weights
from modelspec.framework import Files
from modelspec.frameworks.sklearn import Sklearn
from tests.formats import pickles

SHAPES = pickles.shapes(Path("canary"))
OTHER = "sha256:" + "0" * 64


def trust_in(path: Path) -> str:
    return f"sha256:{digest.of_file(path)}"


def problem(read: Any, *arguments: Any) -> Diagnostic:
    with pytest.raises(ModelspecError) as caught:
        read(*arguments)
    (found,) = caught.value.diagnostics
    assert "\n" not in found.message
    assert isinstance(found, Diagnostic)
    return found


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the pickles of `SHAPES` would make a file."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "canary"


@pytest.mark.filterwarnings("ignore:unclosed file")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("shape", SHAPES)
def test_the_pickles_are_what_they_are_said_to_be(shape: str, canary: Path) -> None:
    """Otherwise their refusal would show nothing."""
    with contextlib.suppress(Exception):
        pickle.loads(SHAPES[shape])
    assert canary.exists() == (shape not in pickles.HARMLESS)


def _torch_archive(data: bytes) -> bytes:
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    writer.write_record("data.pkl", data, len(data))
    writer.write_record("byteorder", b"little", 6)
    writer.write_record("data/0", bytes(8), 8)
    writer.write_end_of_file()
    return buffer.getvalue()


def _legacy(data: bytes) -> bytes:
    """As torch.save once wrote: a number, a version and the system's properties, each a pickle; then the object's."""
    parts = (torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, {"little_endian": True})
    return b"".join(pickle.dumps(part, protocol=2) for part in parts) + data


def _npy(data: bytes) -> bytes:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + data


def _zip(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, data)
    return buffer.getvalue()


WRAPPED = {
    "model.joblib": (lambda data: data, lambda path: pickle_file.read(path, None), "MS612"),
    "model.pkl": (lambda data: data, lambda path: pickle_file.read(path, None), "MS612"),
    "small.joblib": (gzip.compress, lambda path: pickle_file.read(path, None), "MS612"),
    "renamed.skops": (lambda data: data, skops_file.read, "MS614"),
    "renamed.npz": (lambda data: data, npz.read, "MS614"),
    "renamed.pt": (lambda data: data, torch_weights.read, "MS614"),
    "renamed.safetensors": (lambda data: data, torch_weights.read, "MS614"),
    "weights.pt": (_torch_archive, torch_weights.read, "MS612"),
    "weights.pth": (_torch_archive, torch_weights.read, "MS612"),
    "legacy.pt": (_legacy, torch_weights.read, "MS612"),
    "objects.npz": (lambda data: _zip("x.npy", _npy(data)), npz.read, "MS612"),
    "array.npz": (_npy, npz.read, "MS614"),
    "compressed.pt": (gzip.compress, torch_weights.read, "MS614"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("shape", SHAPES)
def test_no_pickle_is_run_in_any_wrapping(shape: str, name: str, canary: Path) -> None:
    wrap, read, code = WRAPPED[name]
    path = canary.parent / name
    path.write_bytes(wrap(SHAPES[shape]))  # type: ignore[no-untyped-call]
    assert problem(read, path).code == code
    assert not canary.exists()


@pytest.mark.parametrize("suffix", ["joblib", "pkl", "pt"])
@pytest.mark.parametrize("shape", list(SHAPES)[::6])
def test_another_digest_is_no_trust(shape: str, suffix: str, canary: Path) -> None:
    path = canary.parent / f"file.{suffix}"
    path.write_bytes(_torch_archive(SHAPES[shape]) if suffix == "pt" else SHAPES[shape])
    found = problem(torch_weights.read if suffix == "pt" else pickle_file.read, path, OTHER)
    assert (found.code, found.path) == ("MS615", ("trust",))
    assert trust_in(path) in found.message
    assert not canary.exists()


MODEL = make_pipeline(StandardScaler(), LogisticRegression()).fit(*load_wine(return_X_y=True))


@pytest.mark.parametrize(("name", "options"), [
    ("model.joblib", {}), ("model.joblib", {"compress": 3}), ("model.joblib", {"compress": ("xz", 1)}), ("model.PKL", None),
    ("model.pickle", None),
])  # fmt: skip
def test_a_trusted_estimator_is_loaded(name: str, options: dict[str, Any] | None, tmp_path: Path) -> None:
    (tmp_path / "artifact").mkdir()
    path = tmp_path / "artifact" / name
    if options is None:
        path.write_bytes(pickle.dumps(MODEL))
    else:
        joblib.dump(MODEL, path, **options)
    refusal = problem(Sklearn(framework="sklearn", artifact=name).load, Files(tmp_path))
    assert refusal.code == "MS612"
    # The line that the message gives is the one to add.
    line = re.search(r'trust: "(.*)"$', refusal.help)
    assert line is not None
    found = Sklearn(framework="sklearn", artifact=name, trust=line[1]).load(Files(tmp_path))
    x, _ = load_wine(return_X_y=True)
    np.testing.assert_array_equal(found.predict_proba(x), MODEL.predict_proba(x))
    path.write_bytes(path.read_bytes() + b"\0")
    assert problem(Sklearn(framework="sklearn", artifact=name, trust=line[1]).load, Files(tmp_path)).code == "MS615"


@pytest.mark.parametrize("data", [
    b"", b"\x80\x04", b"cno_such_module\nname\n.", b"cbuiltins\nno_such_name\n.", b"}.garbage"[1:], b"\x1f\x8bcut", b"I1\nI2\ntR.",
])  # fmt: skip
def test_a_trusted_file_that_cannot_be_loaded_is_said(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(data)
    found = problem(pickle_file.read, tmp_path / "model.pkl", trust_in(tmp_path / "model.pkl"))
    assert found.code == "MS504"
    assert "is trusted, and cannot be loaded" in found.message


STATE = OrderedDict(torch.nn.Sequential(torch.nn.Linear(3, 2)).state_dict())


def same(found: dict[str, Any]) -> None:
    assert found.keys() == STATE.keys()
    for name, tensor in STATE.items():
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("new", [True, False])
def test_tensors_need_no_trust_and_take_none(new: bool, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(STATE, path, _use_new_zipfile_serialization=new)
    same(torch_weights.read(path))
    found = problem(torch_weights.read, path, trust_in(path))
    assert (found.code, found.path) == ("MS319", ("trust",))


class Net(torch.nn.Module):
    """A module that is saved whole."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("0", torch.nn.Linear(3, 2))

    def forward(self, x: torch.Tensor) -> Any:
        return self.get_submodule("0")(x)


def whole() -> Net:
    net = Net()
    net.load_state_dict(STATE)
    return net


def test_a_trusted_module_gives_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(whole(), path)
    refusal = problem(torch_weights.read, path)
    assert refusal.code == "MS612"
    assert f'trust: "{trust_in(path)}"' in refusal.help
    same(torch_weights.read(path, trust_in(path)))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_program_needs_trust(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.jit.trace(whole(), torch.ones(1, 3)).save(path)  # type: ignore[no-untyped-call]
    assert problem(torch_weights.read, path).code == "MS612"
    same(torch_weights.read(path, trust_in(path)))


class Settings:
    """Not a tensor."""


@pytest.mark.parametrize("value", [
    {"model": STATE, "settings": Settings()}, [Settings()], {1: Settings()},
])  # fmt: skip
def test_a_trusted_checkpoint_is_no_state_dict(value: object, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(value, path)
    found = problem(torch_weights.read, path, trust_in(path))
    assert found.code == "MS504"
    assert "save model.state_dict()" in found.help


@pytest.mark.parametrize("value", [
    [torch.ones(1)], {"a": 1}, {1: torch.ones(1)}, {"a": {"b": torch.ones(1)}}, {"a": torch.eye(2).to_sparse()}, torch.ones(1),
])  # fmt: skip
def test_tensors_in_another_shape_are_no_state_dict(value: object, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "w.pt")
    assert problem(torch_weights.read, tmp_path / "w.pt").code == "MS504"


def test_a_failing_safe_load_is_final(tmp_path: Path, canary: Path) -> None:
    """Damage after the payload: there is no second reader to fall back to."""
    data = _torch_archive(SHAPES["open as of protocol 2"])
    for length in range(0, len(data), 40):
        (tmp_path / "w.pt").write_bytes(data[:length])
        assert problem(torch_weights.read, tmp_path / "w.pt").code in {"MS504", "MS612", "MS613"}
        assert not canary.exists()


@pytest.mark.parametrize(("data", "code"), [
    (b"", "MS504"),
    (b"version https://git-lfs.github.com/spec/v1\n", "MS504"),
    (b"<!DOCTYPE html>", "MS504"),
    (b"PK\3\4", "MS504"),
    (b"7z\xbc\xaf\x27\x1c" + bytes(60), "MS614"),
    (bytes(257) + b"ustar\x0000" + bytes(255), "MS614"),
    (b"BZh9" + bytes(20), "MS614"),
    (b"\x1f\x8b\x08" + bytes(20), "MS614"),
    (b"Rar!\x1a\x07\x01\0", "MS614"),
    (b"\xfd7zXZ\0", "MS614"),
    (b"GGUF" + bytes(20), "MS614"),
    (b"\x89HDF\r\n\x1a\n", "MS614"),
    (b"\x80\x04" + pickle.dumps({"a": 1.0}), "MS614"),
    (_torch_archive(pickle.dumps({})) + b"trailing", "MS613"),
    (_zip("archive/data.pkl", pickle.dumps({})), "MS504"),
    (_zip("weights.zip", _zip("data.pkl", b"N.")), "MS504"),
])  # fmt: skip
def test_what_torch_did_not_write_is_not_opened(data: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(data)
    assert problem(torch_weights.read, tmp_path / "w.pt").code == code


@pytest.mark.parametrize("name", ["w.bin", "w.ckpt", "w", "w.pkl", "w.pt.gz"])
def test_other_names_are_not_guessed_at(name: str, tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / name)
    assert "not a kind of weights that is known" in problem(torch_weights.read, tmp_path / name).message


@pytest.mark.parametrize("text", [b"", b"hello", b"apiVersion: modelspec/v1\n", b"{}", b"\0" * 100, bytes(range(256))])
def test_plain_bytes_have_no_kind(text: bytes) -> None:
    assert magic.kind(text) == ""
