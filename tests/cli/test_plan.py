"""`modelspec plan`: reads, and needs nothing that only a build needs."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from modelspec.cli import command

SPEC = """\
apiVersion: modelspec/v1
name: digits
version: "1.0.0"
source: {framework: onnx, artifact: model.onnx, requires: [no-such-distribution]}
data: {test: {loader: "data.py:load"}}
targets: [{device: cpu}]
evaluate: {data: test, metrics: [agreement], task: embedding}
"""


def test_what_is_not_installed_is_a_note(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    (project / "model.yaml").write_text(SPEC)
    cache = ["--cache-dir", str(tmp_path / "cache")]
    shown = CliRunner().invoke(command, ["plan", *cache])
    assert shown.exit_code == 0
    assert "load:test" in shown.stdout
    assert shown.stderr == (
        "note  not installed: no-such-distribution; before a build: pip install no-such-distribution\n"
    )
    data = CliRunner().invoke(command, ["plan", "--exit-code", "--format", "json", *cache])
    assert data.exit_code == 20
    assert {action["state"] for action in json.loads(data.stdout)["actions"]} == {"run", "waits"}
    refused = CliRunner().invoke(command, ["build", *cache])
    assert refused.exit_code == 4
    assert "MS401" in refused.stderr
