"""Malicious files through the command itself: exit status 6, a code, no canary, nothing published."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import onnx
import pytest
import torch

from modelspec import digest
from modelspec.errors import Exit
from tests.formats import pickles, skops_files
from tests.formats.onnx_places import PLACES, save
from tests.formats.test_archive import PLAIN
from tests.formats.test_trust import MODEL, _npy, _torch_archive, _zip

pytestmark = pytest.mark.slow

HEAD = 'apiVersion: modelspec/v1\nname: digits\nversion: "1.0.0"\ntargets: [{device: cpu}]\n'
ONNX = HEAD + "source: {framework: onnx, artifact: model}\n"
SKLEARN = HEAD + "source: {framework: sklearn, artifact: %s}\n"
PYTORCH = (
    HEAD
    + 'source: {framework: pytorch, entrypoint: "code.py:build", weights: %s}\n'
    + "signature: {inputs: {x: {dtype: float32, shape: [batch, 4]}}}\n"
)
DATA = (
    HEAD
    + "source: {framework: onnx, artifact: sound.onnx}\ndata: {test: {path: %s}}\n"
    + "evaluate: {task: embedding, data: test, metrics: [agreement]}\n"
)
SECRET = b"a secret of 32 bytes: 0123456789"


def build(folder: Path, spec: str) -> subprocess.CompletedProcess[str]:
    (folder / "model.yaml").write_text(spec)
    environment = {**os.environ, "MODELSPEC_CACHE_DIR": str(folder.parent / "cache")}
    command = [sys.executable, "-m", "modelspec", "build", "--format", "json"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def refused(folder: Path, spec: str, code: str) -> str:
    """Build, and see that nothing came of it. Returns the message."""
    done = build(folder, spec)
    assert done.returncode == Exit.UNSAFE, done.stdout + done.stderr
    text = done.stdout + done.stderr
    assert f'"{code}"' in text
    assert "Traceback" not in text
    assert not (folder.parent / "canary").exists()
    assert not (folder / "dist").exists()
    for kept in (folder.parent / "cache").rglob("*"):
        assert not kept.is_file() or SECRET not in kept.read_bytes()
    return text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "project" / "model").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(SECRET)
    (tmp_path / "project" / "code.py").write_text(
        "import torch\ndef build():\n    return torch.nn.Sequential(torch.nn.Linear(4, 2))\n"
    )
    return tmp_path / "project"


@pytest.mark.parametrize("place", PLACES)
def test_external_data_in_a_parent_folder(folder: Path, place: str) -> None:
    save(PLACES[place](), folder / "model", "../../secret.bin")
    refused(folder, ONNX, "MS613")


@pytest.mark.parametrize(("kind", "code"), [("link", "MS611"), ("folder", "MS613"), ("short", "MS613")])
def test_external_data_through_a_link_or_cut_off(folder: Path, kind: str, code: str) -> None:
    location = {"link": "link.bin", "folder": "sub/secret.bin", "short": "weights.bin"}[kind]
    save(PLACES["initializer"](), folder / "model", location)
    if kind == "link":
        (folder / "model" / "link.bin").symlink_to(folder.parent / "secret.bin")
    elif kind == "folder":
        (folder / "model" / "sub").symlink_to(folder.parent)
    else:
        (folder / "model" / "weights.bin").write_bytes(bytes(15))
    refused(folder, ONNX, code)


@pytest.mark.parametrize(("name", "shape", "code"), [
    ("model.joblib", "exec as of protocol 4", "MS612"),
    ("model.pkl", "cut off after the call", "MS612"),
    ("model.skops", "exec as of protocol 4", "MS614"),
])  # fmt: skip
def test_a_pickle_as_estimator(folder: Path, name: str, shape: str, code: str) -> None:
    (folder / name).write_bytes(pickles.shapes(folder.parent / "canary")[shape])
    refused(folder, SKLEARN % name, code)


@pytest.mark.parametrize(("wrap", "shape", "code"), [
    (_torch_archive, "exec as of protocol 2", "MS612"),
    (_torch_archive, "instance", "MS612"),
    (bytes, "exec as of protocol 4", "MS614"),
])  # fmt: skip
def test_a_pickle_as_weights(folder: Path, wrap: Callable[[bytes], bytes], shape: str, code: str) -> None:
    (folder / "w.pt").write_bytes(wrap(pickles.shapes(folder.parent / "canary")[shape]))
    refused(folder, PYTORCH % "w.pt", code)


@pytest.mark.parametrize("attack", ["exec", "numpy.memmap"])
def test_a_crafted_skops_file(folder: Path, attack: str) -> None:
    skops_files.write(skops_files.attacks(folder.parent / "canary")[attack], folder / "model.skops")
    refused(folder, SKLEARN % "model.skops", "MS612")


def _bomb(path: Path, canary: Path) -> None:
    np.savez_compressed(path, x=np.zeros((1 << 20, 4), np.float64))


def _objects(path: Path, canary: Path) -> None:
    path.write_bytes(_zip("x.npy", _npy(pickles.shapes(canary)["exec as of protocol 4"])))


def _polyglot(path: Path, canary: Path) -> None:
    path.write_bytes(PLAIN + b"\n")


@pytest.mark.parametrize(("make", "code"), [(_bomb, "MS613"), (_objects, "MS612"), (_polyglot, "MS613")])
def test_a_hostile_data_set(folder: Path, make: Callable[[Path, Path], None], code: str) -> None:
    model = PLACES["initializer"]()
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones(4, np.float32), "w"))
    onnx.save(model, folder / "sound.onnx")
    make(folder / "data.npz", folder.parent / "canary")
    refused(folder, DATA % "data.npz", code)


def test_a_trusted_pickle_is_loaded_in_a_worker_and_builds(folder: Path) -> None:
    """The line of the message is all that is missing; another file under the same name is refused again."""
    joblib.dump(MODEL, folder / "model.joblib")
    message = refused(folder, SKLEARN % "model.joblib", "MS612")
    line = f'trust: "sha256:{digest.of_file(folder / "model.joblib")}"'
    assert json.dumps(line)[1:-1] in message
    trusted = SKLEARN % f"model.joblib, {line}"
    done = build(folder, trusted)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "dist/digits/1.0.0/cpu-fp32/model.onnx").is_file()
    (folder / "model.joblib").write_bytes(pickles.shapes(folder.parent / "canary")["exec as of protocol 4"])
    done = build(folder, trusted)
    assert done.returncode == Exit.UNSAFE
    assert '"MS615"' in done.stdout + done.stderr
    assert not (folder.parent / "canary").exists()


def test_trusted_weights_build(folder: Path) -> None:
    torch.save(torch.nn.Sequential(torch.nn.Linear(4, 2)), folder / "w.pt")
    refused(folder, PYTORCH % "w.pt", "MS612")
    done = build(folder, PYTORCH % f'w.pt, trust: "sha256:{digest.of_file(folder / "w.pt")}"')
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_damaged_archive_is_a_failed_stage_not_a_refusal(folder: Path) -> None:
    with zipfile.ZipFile(folder / "model.skops", "w") as file:
        file.writestr("schema.json", "{}")
    done = build(folder, SKLEARN % "model.skops")
    assert done.returncode == Exit.STAGE
    assert '"MS504"' in done.stdout + done.stderr
