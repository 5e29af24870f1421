"""`modelspec validate`: formats and streams, many files, exit statuses, what it loads, and how it ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from modelspec.cli import Commands, command

GOOD = """\
apiVersion: modelspec/v1
name: digits
version: "1.0.0"
source: {framework: onnx, artifact: model.onnx}
data:
  test: {path: test.npz, labels: digit}
targets: [{device: cpu, precision: int8}]
evaluate: {data: test, metrics: [accuracy], gates: [{metric: accuracy, min: 0.95}]}
"""
HEAVY = {
    "torch",
    "onnx",
    "onnxruntime",
    "sklearn",
    "numpy",
    "jinja2",
    "rich",
    "packaging",
    "platformdirs",
    "scipy",
    "requests",
}


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    (project / "model.yaml").write_text(GOOD)
    return project


def run(*args: str) -> Result:
    return CliRunner().invoke(command, ["validate", *args])


def shell(*args: str, **options: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "modelspec", *args]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload, no-any-return]


def test_valid(here: Path) -> None:
    result = run()
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "model.yaml: valid\n")


def test_every_problem_at_once(here: Path) -> None:
    (here / "model.yaml").write_text(GOOD.replace('"1.0.0"', "1.0").replace("precision", "precison"))
    result = run("--format", "concise")
    assert result.exit_code == 2
    assert result.stdout.splitlines() == [
        "model.yaml:3:10: MS204 'version' must be a string, not a decimal number (quote it: \"1.0\")",
        "model.yaml:7:25: MS201 unknown key 'precison' (did you mean 'precision'?)",
    ]
    assert result.stderr.endswith("model.yaml: 2 errors\n")


def test_many_files(here: Path) -> None:
    (here / "bad.yaml").write_text("")
    (here / "worse.yaml").write_text(GOOD.replace("model.onnx", "outside.onnx"))
    result = run("model.yaml", "bad.yaml", "worse.yaml", "nothing.yaml", ".", "pipe", "--format", "json")
    found = json.loads(result.stdout)["diagnostics"]
    assert [(d["file"], d["code"]) for d in found] == [
        ("bad.yaml", "MS103"), ("worse.yaml", "MS611"), ("nothing.yaml", "MS109"), (".", "MS109"), ("pipe", "MS109"),
    ]  # fmt: skip
    assert result.exit_code == 6, "unsafe is worse than wrong"
    assert run("model.yaml", "model.yaml").stderr == "2 files: valid\n"


@pytest.mark.parametrize("format_", ["json", "github", "sarif"])
def test_data_goes_to_stdout_alone(here: Path, format_: str) -> None:
    (here / "model.yaml").write_text(GOOD.replace("int8", "int9"))
    result = run("--format", format_)
    assert result.exit_code == 2
    assert "MS203" in result.stdout
    assert result.stderr == ""


def test_found_in_a_folder_around(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(here / "a" / "b")
    assert run().exit_code == 0
    (here / "a" / ".git").mkdir()
    result = run()
    assert result.exit_code == 2
    assert "MS322" in result.stderr


def test_color(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "model.yaml").write_text("")
    for color in ([], ["--color", "never"]):
        assert "\x1b" not in CliRunner().invoke(command, ["validate", *color], color=True).stdout
    always = ["validate", "--color", "always"]
    assert "\x1b[1;31m" in CliRunner().invoke(command, always, color=True).stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" in CliRunner().invoke(command, ["validate"], color=True).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in CliRunner().invoke(command, always, color=True).stdout


@pytest.mark.parametrize("args", [["--frobnicate"], ["--format", "xml"], ["--file", "a", "b"]])
def test_wrong_usage(here: Path, args: list[str]) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert "Error:" in result.stderr


def test_unknown_command_has_a_suggestion() -> None:
    result = CliRunner().invoke(command, ["valdate"])
    assert result.exit_code == 2
    assert "Did you mean 'validate'?" in result.stderr


def test_every_file_is_a_command() -> None:
    context = command.make_context("modelspec", ["--help"], resilient_parsing=True)
    assert isinstance(command, Commands)
    names = command.list_commands(context)
    assert {"validate", "schema", "explain", "init", "completion", "plan", "build"} <= set(names)
    for name in names:
        found = command.get_command(context, name)
        assert found is not None
        assert found.get_short_help_str(), f"{name} has no help"


def test_loads_nothing_heavy(here: Path) -> None:
    script = (
        "import sys; sys.argv[1:] = ['validate']\n"
        "import modelspec.cli\n"
        "try: modelspec.cli.main()\n"
        "except SystemExit as end: print(end.code, *sorted(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    status, *modules = done.stdout.split()
    assert status == "0"
    assert not HEAVY & {name.split(".")[0] for name in modules}
    assert not {"importlib.metadata", "difflib", "email", "logging", "subprocess", "modelspec.spec.shape"} & set(
        modules
    )


def test_sees_what_is_unsafe_without_a_traceback(here: Path) -> None:
    (here / "model.yaml").write_text(GOOD.replace("model.onnx", "outside/model.onnx"))
    done = shell("validate")
    assert done.returncode == 6
    assert "Traceback" not in done.stderr + done.stdout


def test_closed_pipe_is_quiet(here: Path) -> None:
    (here / "bad.yaml").write_text(GOOD + "".join(f"key{number}: 1\n" for number in range(5000)))
    line = f"{sys.executable} -m modelspec validate bad.yaml | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert done.stdout.count("\n") == 1
    assert "BrokenPipe" not in done.stderr
    assert "Traceback" not in done.stderr


WAITING = """
import sys, time, modelspec.cli, modelspec.spec.load
def load(path):
    print("ready", flush=True)
    {body}
modelspec.spec.load.load = load
sys.argv[1:] = ["validate"]
modelspec.cli.main()
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(here: Path, number: signal.Signals, status: int) -> None:
    script = WAITING.format(body="time.sleep(30)")
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        os.kill(child.pid, number)
        _, error = child.communicate(timeout=30)
    assert child.returncode == status
    assert "Traceback" not in error


def test_a_bug_leaves_a_report(here: Path) -> None:
    script = WAITING.format(body="raise ValueError('what no one foresaw')")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "TMPDIR": str(here)})  # fmt: skip
    assert done.returncode == 70
    assert "Traceback" not in done.stderr
    (report,) = here.glob("modelspec-crash-*.txt")
    assert str(report) in done.stderr
    assert "what no one foresaw" in report.read_text()
