"""What `doctor` says is there, and what it says is missing."""

import re
from pathlib import Path

import pytest

from modelspec import toolchain
from modelspec.report import doctor
from modelspec.report.style import Style


def test_what_options_and_commands_take_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what the extras bring nothing is left out; a part is ready without what only some options take."""
    found = doctor.findings(tmp_path)
    listed = {name for part in found["parts"] for key in ("packages", "optional") for name in part[key]}
    assert {"torch-pruning", "zstandard", "fsspec", "optuna", "uvicorn", "grpcio", "torch", "skops"} <= listed
    real = toolchain.version
    monkeypatch.setattr(toolchain, "version", lambda name: None if name in {"torch-pruning", "optuna"} else real(name))
    text = doctor.as_text(doctor.findings(tmp_path), Style(color=False))
    assert "prune            ready but for options that take torch-pruning" in text
    assert "tune             missing optuna" in text
    (extras,) = re.findall(r"pip install 'modelspec-build\[(.*)\]'", text)
    assert {"pytorch", "tune"} <= set(extras.split(","))  # and those of what is not installed here
