"""`build --format github` and `plan --format github-matrix`: what the log, the files of the runner and the exit status say."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from modelspec.cli import command
from modelspec.errors import Diagnostic, ModelspecError, Span, fail
from modelspec.report.diagnostics import render
from modelspec.report.machine import ANNOTATIONS, harmless
from modelspec.report.workflow import SUMMARY_BYTES, as_file, cut, failed, read_base
from tests.workflow.runner import read_file

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("base", ["missing", "model.yaml", "sub"])
def test_a_base_that_is_no_build_is_refused(tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "model.yaml").write_text("")
    with pytest.raises(ModelspecError, match="MS325"):
        read_base(Path(base))
    done = CliRunner().invoke(command, ["build", "--format", "github", "--base", base])
    assert done.exit_code == 2
    assert "::error title=modelspec MS325::" in done.stdout


def test_a_base_without_the_format_that_shows_it(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["build", "--base", str(tmp_path)])
    assert done.exit_code == 2
    assert "MS325" in done.stderr


def test_the_matrix_is_one_line_of_the_targets_asked_for(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "digits", tmp_path / "digits", ignore=shutil.ignore_patterns("dist", "*.lock"))
    args = [
        "plan",
        "--format",
        "github-matrix",
        "-f",
        str(tmp_path / "digits/model.yaml"),
        "--cache-dir",
        str(tmp_path),
    ]
    done = CliRunner().invoke(command, [*args, "-t", "cpu-int8"])
    assert done.stdout.count("\n") == 1
    assert json.loads(done.stdout) == {
        "include": [{"target": "cpu-int8", "device": "cpu", "precision": "int8", "state": "work"}]
    }
    refused = CliRunner().invoke(command, [*args, "--why", "convert"])
    assert refused.exit_code == 2


def test_values_of_outputs_end_where_they_end(tmp_path: Path) -> None:
    values = {"folder": "a\nend\nstatus=0", "digest": "x<<y", "empty": ""}
    (tmp_path / "out").write_text(as_file(values))
    assert read_file(tmp_path / "out") == values


def test_only_the_worst_are_annotations_and_all_are_told() -> None:
    problems = [Diagnostic("MS201", f"no {n}", file="model.yaml", span=Span(n, 1, n, 2)) for n in range(1, 31)]
    problems += [Diagnostic("MS553", f"warned {n}", severity="warning") for n in range(12)]
    problems.append(Diagnostic("MS611", "unsafe"))
    lines = render(problems, "github").splitlines()
    assert len(lines) == len(problems)
    assert lines[0] == "::error title=modelspec MS611::unsafe"
    assert sum(line.startswith("::error") for line in lines) == ANNOTATIONS
    assert sum(line.startswith("::warning") for line in lines) == ANNOTATIONS
    assert "model.yaml:30:1: MS201 no 30" in lines


@pytest.mark.parametrize(
    "text", ["::error::x", "  ::add-mask::x", "\t::stop-commands::x", "a ##[group]x", "##[error]x"]
)
def test_text_of_others_is_no_command(text: str) -> None:
    shown = harmless(text)
    assert not shown.lstrip().startswith("::")
    assert "##[" not in shown


def test_files_are_named_from_the_root_of_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "models")
    problem = Diagnostic("MS201", "no", file="a/model.yaml", span=Span(1, 1, 1, 2))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    assert "file=models/a/model.yaml," in render([problem], "github")
    assert '"uri": "models/a/model.yaml"' in render([problem], "sarif")
    assert render([problem], "concise").startswith("a/model.yaml:")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / "elsewhere"))
    assert "file=a/model.yaml," in render([problem], "github")


def test_a_summary_that_github_would_drop_is_cut() -> None:
    text = cut("é | x\n" * SUMMARY_BYTES)
    assert len(text.encode()) < 2**20
    assert text.endswith("the rest is in the log of the step.\n")
    assert cut("short\n") == "short\n"


def test_a_summary_holds_no_mark_up_of_a_user() -> None:
    error = fail("MS501", "<img src=x onerror=y> | a\n# [b](http://c) `d`", help="*e*")
    text = failed(Path("a|b/<x>.yaml"), error, None).as_markdown()
    assert r"\<img src=x onerror=y\> \| a \# \[b\](http://c) \`d\`" in text
    assert text.count("\n|") == 3


CODE = """\
import sys
import numpy as np
print("::error::planted")
print("##[group]planted", file=sys.stderr, flush=True)
def load():
    print("::add-mask::digits", flush=True)
    raise ValueError("no data")
"""
SPEC = """\
apiVersion: modelspec/v1
name: cancer
version: "1.0.0"
source: {framework: sklearn, artifact: model.skops}
data: {test: {loader: "data.py:load", labels: benign}}
targets: [{device: cpu}]
evaluate: {data: test, metrics: [accuracy]}
"""


@pytest.mark.slow
def test_the_log_of_a_failure_folds_and_its_text_is_no_command(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "breast-cancer/model.skops", tmp_path)
    (tmp_path / "data.py").write_text(CODE)
    (tmp_path / "model.yaml").write_text(SPEC)
    line = [sys.executable, "-m", "modelspec", "build", "--format", "github", "--cache-dir", "cache"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 3, done.stdout
    lines = done.stdout.splitlines()
    assert "::error file=model.yaml,line=5," in done.stdout
    begin = lines.index("::group::log of load:test")
    word = lines[begin + 1].removeprefix("::stop-commands::")
    assert len(word) == 32
    end = lines.index(f"::{word}::")
    assert lines[end + 1] == "::endgroup::"
    for planted in ("::error::planted", "##[group]planted", "::add-mask::digits"):
        places = [number for number, text in enumerate(lines) if planted in text]
        assert places
        assert all(begin < place < end for place in places)
