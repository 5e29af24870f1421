"""Output that nobody reads, that cannot be written, or that cannot be spelled: the exit status still says what happened."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SPEC = 'apiVersion: modelspec/v1\nname: digits\nversion: "1.0.0"\ntargets: [{device: cpu}]\n'
GOOD = SPEC + "source: {framework: onnx, artifact: model.onnx}\n"
RUN = f"{sys.executable} -m modelspec"


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    (project / "model.yaml").write_text(GOOD)
    (project / "bad.yaml").write_text(SPEC)
    return project


def shell(line: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=60, env={**os.environ, **environment})
    assert b"Traceback" not in done.stderr + done.stdout
    assert b"a bug in modelspec" not in done.stderr
    return done


@pytest.mark.parametrize(
    "arguments", ["explain", "--help", "--version", "build --help", "completion bash", "plan --exit-code", "doctor"]
)
def test_a_closed_pipe_is_no_failed_gate(here: Path, arguments: str) -> None:
    # The reader is gone before anything is written.
    done = shell(f"(sleep 0.3; exec {RUN} {arguments}) | true; echo ${{PIPESTATUS[0]}}")
    assert done.stdout == b"141\n"
    assert done.stderr == b""


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&- >&- 2>&-", "2>&- >/dev/null"])
def test_closed_streams(here: Path, streams: str) -> None:
    assert shell(f"{RUN} validate {streams}").returncode == 0
    assert shell(f"{RUN} validate bad.yaml {streams}").returncode == 2
    assert shell(f"{RUN} build -f bad.yaml {streams}").returncode == 2
    assert shell(f"{RUN} bould {streams}").returncode == 2


@pytest.mark.parametrize("arguments", ["--version", "schema", "validate --format json"])
def test_a_full_disk(here: Path, arguments: str) -> None:
    done = shell(f"{RUN} {arguments} > /dev/full")
    assert done.returncode == 4
    assert b"pace left" in done.stderr
    assert shell(f"{RUN} build -f bad.yaml 2> /dev/full").returncode == 2


@pytest.mark.parametrize("format_", ["human", "concise", "json", "github", "sarif"])
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_names_that_cannot_be_spelled(here: Path, format_: str, encoding: str) -> None:
    line = f"{RUN} validate --format {format_} \"$(printf 'n\\xff\\xe5\\x90\\x8d\\x1b[31m\\n.yaml')\""
    done = shell(line, PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    text = (done.stdout + done.stderr).decode(encoding)
    assert "MS109" in text
    assert "\x1b" not in text
    if format_ in {"json", "sarif"}:
        json.loads(done.stdout)
    if format_ in {"concise", "github"}:
        assert len(done.stdout.splitlines()) == 1


def test_a_folder_that_is_gone(here: Path) -> None:
    for command in ("validate", "plan", "build", "init", "validate ../model.yaml"):
        done = shell(f"mkdir -p gone && cd gone && rmdir ../gone && {RUN} {command}")
        assert done.returncode == 4
        assert b"MS402" in done.stderr


def test_what_the_system_refuses_is_no_bug(here: Path) -> None:
    for command in ("inspect", "init"):
        done = shell(f"{RUN} {command} {'x' * 300}")
        assert done.returncode == 4
        assert b"MS402" in done.stderr


def test_a_file_that_may_not_be_read(here: Path) -> None:
    from click.testing import CliRunner

    from modelspec.cli import command

    (here / "model.yaml").chmod(0)
    if os.access(here / "model.yaml", os.R_OK):
        pytest.skip("this user reads everything")
    for arguments in (["validate"], ["validate", "model.yaml"], ["plan"], ["build", "-f", "model.yaml"]):
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 2
        assert "MS109" in result.output
