"""The lint rules that keep dangerous readers inside `formats/`, and the whole command before files that would run code."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.formats import pickles, skops_files

ROOT = Path(__file__).parents[2]

BANNED = """\
import pickle
import marshal
import shelve
import subprocess
import zipfile
import tarfile
import joblib
import numpy
import onnx
import torch
import yaml

def load(path):
    joblib.load(path)
    numpy.load(path, allow_pickle=True)
    onnx.load(path)
    torch.load(path)
    yaml.load(path)
    tarfile.TarFile.extractall(path)
    subprocess.run("x", shell=True)
    eval(path)
"""


def test_the_bans_fire() -> None:
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--output-format",
        "concise",
        "--stdin-filename",
        "modelspec/stages/x.py",
        "-",
    ]
    done = subprocess.run(command, input=BANNED, cwd=ROOT, capture_output=True, text=True)
    for name in ("pickle", "marshal", "shelve", "zipfile", "joblib.load", "numpy.load", "onnx.load", "torch.load",
                 "yaml.load", "extractall"):  # fmt: skip
        assert any("TID251" in line and name in line for line in done.stdout.splitlines()), name
    assert "S602" in done.stdout
    assert "S307" in done.stdout


SPEC = """\
apiVersion: modelspec/v1
name: evil
version: "1.0.0"
source: {source}
{signature}targets: [{{device: cpu}}]
"""
SIGNATURE = "signature: {inputs: {x: {dtype: float32, shape: [batch, 2]}}}\n"


def build(folder: Path, source: str, signature: str = "") -> "subprocess.CompletedProcess[str]":
    (folder / "model.yaml").write_text(SPEC.format(source=source, signature=signature))
    environment = {**os.environ, "MODELSPEC_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-m", "modelspec", "build"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("name", "source", "code"),
    [
        ("model.pkl", "{framework: sklearn, artifact: model.pkl}", "MS612"),
        ("model.skops", "{framework: sklearn, artifact: model.skops}", "MS612"),
        ("weights.pt", '{framework: pytorch, entrypoint: "model.py:build", weights: weights.pt}', "MS612"),
    ],
)
def test_a_build_refuses_what_would_run_code(name: str, source: str, code: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    evil = pickles.shapes(canary)["global, no protocol"]
    if name == "model.skops":
        skops_files.write(skops_files.attacks(canary)["exec"], tmp_path / name)
    elif name == "weights.pt":
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            file.writestr("archive/data.pkl", evil)
            file.writestr("archive/version", "3\n")
    else:
        (tmp_path / name).write_bytes(evil)
    (tmp_path / "model.py").write_text("import torch\ndef build():\n    return torch.nn.Linear(2, 1)\n")
    done = build(tmp_path, source, SIGNATURE if "pytorch" in source else "")
    assert done.returncode == 6, done.stdout + done.stderr
    assert f"error[{code}]" in done.stderr
    assert "Traceback" not in done.stderr
    assert not canary.exists()
    assert not (tmp_path / "dist").exists()
