"""The lint rules that keep dangerous readers out of the rest of the package do fire, and name what to use."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BANNED = {
    "import pickle": "TID251",
    "from pickle import loads": "TID251",
    "import _pickle": "TID251",
    "import cloudpickle": "TID251",
    "import dill": "TID251",
    "import jsonpickle": "TID251",
    "import marshal": "TID251",
    "import shelve": "TID251",
    "import hashlib": "TID251",
    "import joblib\njoblib.load('x')": "TID251",
    "from joblib import load": "TID251",
    "import joblib\njoblib.dump(1, 'x')": "TID251",
    "import pandas\npandas.read_pickle('x')": "TID251",
    "import skops.io\nskops.io.load('x')": "TID251",
    "from skops.io import load": "TID251",
    "import torch\ntorch.load('x', weights_only=True)": "TID251",
    "import torch as t\nt.load('x')": "TID251",
    "import torch\ntorch.jit.load('x')": "TID251",
    "import torch\ntorch.hub.load('x', 'y')": "TID251",
    "from torch.package import PackageImporter": "TID251",
    "from safetensors.torch import load_file": "TID251",
    "from safetensors import safe_open": "TID251",
    "import numpy as np\nnp.load('x')": "TID251",
    "import numpy as np\nnp.load('x', allow_pickle=True)": "TID251",
    "from numpy.lib.format import read_array": "TID251",
    "import onnx\nonnx.load('x')": "TID251",
    "import onnx\nonnx.load_model('x')": "TID251",
    "from onnx import load_external_data_for_model": "TID251",
    "import zipfile": "TID251",
    "from zipfile import ZipFile": "TID251",
    "import shutil\nshutil.unpack_archive('x')": "TID251",
    "import tarfile\ntarfile.TarFile.extractall": "TID251",
    "import tarfile\nwith tarfile.open('x') as t:\n    t.extractall('y')": "S202",
    "import yaml\nyaml.load('x', yaml.Loader)": "TID251",
    "import yaml\nyaml.safe_load('x')": "TID251",
    "import yaml\nyaml.full_load('x')": "TID251",
    "import yaml\nyaml.unsafe_load('x')": "TID251",
    "import subprocess\nsubprocess.run('x', shell=True)": "S602",
    "import os\nos.system('x')": "S605",
    "eval('1')": "S307",
    "exec('1')": "S102",
}


def found(text: str, file: str) -> dict[str, str]:
    """The messages of ruff by rule, for a text that would be in `file`."""
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--output-format",
        "json",
        "--no-cache",
        "--stdin-filename",
        file,
        "-",
    ]
    done = subprocess.run(command, cwd=ROOT, input=text + "\n", capture_output=True, text=True)
    return {item["code"]: item["message"] for item in json.loads(done.stdout)}


@pytest.mark.parametrize("text", BANNED)
def test_the_ban_fires(text: str) -> None:
    indented = "\n".join("    " + line for line in text.splitlines())
    messages = found(
        f'"""A module."""\n\n\ndef function() -> None:\n    """Do it."""\n{indented}', "modelspec/stages/new.py"
    )
    assert BANNED[text] in messages
    if BANNED[text] == "TID251":
        advice = messages["TID251"].partition(": ")[2]
        assert any(word in advice for word in ("modelspec.", "Write", "Never", "Declare")), advice


def test_the_modules_that_advice_names_exist() -> None:
    import re

    text = (ROOT / "pyproject.toml").read_text().partition("flake8-tidy-imports.banned-api]")[2].partition("\n[")[0]
    names = set(re.findall(r"modelspec(?:\.\w+)+", text))
    assert len(names) > 5
    for name in names:
        path = ROOT / name.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file() or path.parent.with_suffix(".py").is_file(), name


def test_each_dangerous_reader_is_in_one_file() -> None:
    """Inside formats/ the rules are off; there each reader has one place."""
    places = {
        "pickle_file.py": ["joblib.load("],
        "torch_weights.py": ["torch.load("],
        "skops_file.py": ["skops.io.load("],
        "safetensors_file.py": ["load_file("],
        "npz.py": ["read_array("],
        "archive.py": ["zipfile.ZipFile(file)"],
        "onnx_model.py": ["ParseFromString("],
    }
    for place, calls in places.items():
        for call in calls:
            users = {path.name for path in (ROOT / "modelspec").rglob("*.py") if call in path.read_text()}
            assert users == {place}, call
