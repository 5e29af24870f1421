"""The action, step by step as GitHub runs it, on an example; and what hostile inputs do to it: nothing."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.workflow.runner import ROOT, Ran, Runner, load, run_action

EXAMPLE = ROOT / "examples" / "breast-cancer"
ACTION = ".github/actions/build/action.yml"
BUILD = {"version": "installed", "python": "", "file": "models/cancer/model.yaml"}


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    workspace = tmp_path / "work"
    shutil.copytree(
        EXAMPLE, workspace / "models" / "cancer", ignore=shutil.ignore_patterns("dist", "*.lock", "__pycache__")
    )
    return Runner(workspace, tmp_path / "temp")


def action(runner: Runner, **inputs: str) -> Ran:
    return run_action(ACTION, runner, {**BUILD, **{name.replace("_", "-"): value for name, value in inputs.items()}})


def change(runner: Runner, old: str, new: str) -> None:
    spec = runner.workspace / "models/cancer/model.yaml"
    assert old in spec.read_text()
    spec.write_text(spec.read_text().replace(old, new))


def test_the_action_of_the_marketplace_hands_everything_on() -> None:
    outer, inner = load("action.yml"), load(ACTION)
    (step,) = outer["runs"]["steps"]
    assert outer["inputs"] == inner["inputs"]
    assert step["with"] == {name: f"${{{{ inputs.{name} }}}}" for name in inner["inputs"]}
    assert {name: value["value"] for name, value in outer["outputs"].items()} == {
        name: f"${{{{ steps.build.outputs.{name} }}}}" for name in inner["outputs"]
    }


def line_of(text: str) -> int:
    """The line of the example that begins like that, counted from one."""
    lines = (EXAMPLE / "model.yaml").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text[:-1] in line)


@pytest.mark.slow
def test_a_build_and_the_next(runner: Runner) -> None:
    first = action(runner, target="cpu-fp32")
    assert first.status == 0, first.log
    outputs = first.context["outputs"]
    assert (outputs["status"], outputs["changed"], outputs["hits"]) == ("0", "true", "0")
    assert int(outputs["misses"]) > 0
    sums = runner.workspace / outputs["checksums"]
    digest = subprocess.run(["sha256sum", sums], capture_output=True, text=True, check=True).stdout.split()[0]
    assert outputs["digest"] == f"sha256:{digest}"
    assert json.loads((runner.workspace / outputs["manifest"]).read_bytes())["name"] == "breast-cancer"
    assert "| accuracy | 0.9649 |" in first.summary
    assert r"\>= 0.9500 ok" in first.summary
    assert "::group::plan" in first.log
    saved = first.used["Save results"]
    assert saved["path"] == f"{runner.temp}/modelspec-cache"
    restored = first.used["Restore results"]
    assert saved["key"].startswith(restored["restore-keys"])
    assert first.used.keys() == {"Restore results", "Save results"}

    used = {"restore": {"cache-matched-key": saved["key"]}}
    second = run_action(ACTION, runner, {**BUILD, "target": "cpu-fp32"}, used)
    outputs = second.context["outputs"]
    assert (outputs["changed"], outputs["misses"]) == ("false", "0")
    assert "Save results" not in second.used


@pytest.mark.slow
@pytest.mark.parametrize(("fail_on", "status"), [("gate", 1), ("error", 0), ("never", 0)])
def test_a_failed_gate_is_on_its_line_and_in_the_summary(runner: Runner, fail_on: str, status: int) -> None:
    change(runner, "min: 0.95,", "min: 0.99,")
    done = action(runner, fail_on=fail_on, cache="off", format="sarif")
    assert done.status == status
    assert done.context["outputs"]["status"] == "1"
    assert done.context["outputs"]["digest"] == ""
    place = f"line={line_of('min: 0.95')},col=31,endColumn=34"
    assert f"::error file=models/cancer/model.yaml,{place},title=modelspec MS502::" in done.log
    assert r"\>= 0.9900 **FAILED**" in done.summary
    assert json.loads(Path(done.context["outputs"]["sarif"]).read_bytes())["runs"][0]["results"] == []
    assert not done.used


@pytest.mark.slow
def test_an_error_fails_whatever_gates_may_do(runner: Runner) -> None:
    change(runner, "metrics: [accuracy", "metrics: [acuracy")
    done = action(runner, fail_on="error", format="sarif")
    assert done.status == 2
    assert f"::error file=models/cancer/model.yaml,line={line_of('metrics:')},col=" in done.log
    assert "| MS" in done.summary
    (found,) = json.loads(Path(done.context["outputs"]["sarif"]).read_bytes())["runs"][0]["results"][:1]
    place = found["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place["uri"] == "models/cancer/model.yaml"


@pytest.mark.slow
def test_figures_of_the_base_stand_beside_the_new_ones(runner: Runner) -> None:
    shutil.copytree(runner.workspace / "models", runner.workspace / ".base" / "models")
    same = action(runner, base=".base")
    assert same.status == 0, same.log
    assert "| metric | value | base |" in same.summary
    assert "| accuracy | 0.9649 | 0.9649 |" in same.summary
    assert same.context["outputs"]["changed"] == "false"
    assert "same" in Path(same.context["outputs"]["comment"]).read_text()
    change(runner, "- {device: cpu}", "- {device: cpu, name: other}")
    other = Path(action(runner, base=".base").context["outputs"]["comment"]).read_text()
    assert "other" in other
    assert "cpu-fp32" in other
    (runner.workspace / ".base/models/cancer/model.yaml").write_text("name: broken")
    without = action(runner, base=".base")
    assert without.status == 0
    assert "the base does not build" in without.log
    assert "| base |" not in without.summary
    assert not without.context["outputs"]["comment"]


HOSTILE = ("; touch pwned", "$(touch pwned)", "`touch pwned`", "a\ntouch pwned", '"; touch pwned; "', "' || touch pwned",
           "${IFS}", "*", "--file=/etc/passwd", "::set-output name=digest::x", "x\ndigest=sha256:0")  # fmt: skip


@pytest.mark.parametrize("name", ["file", "target", "args", "output", "base", "cache", "fail_on", "format", "extras", "version"])  # fmt: skip
def test_hostile_inputs_stay_data(runner: Runner, name: str) -> None:
    """None runs, none sets an output, and each but a name of a folder fails the step with 2 or more."""
    change(runner, "apiVersion: modelspec/v1", "apiVersion: modelspec/v0")  # so that it ends early
    for text in HOSTILE:
        done = action(runner, **{name: text})
        assert done.status, (text, done.log)
        assert not list(runner.workspace.parent.rglob("*pwned*")), text
        assert done.context["outputs"]["digest"] == ""
        assert not any(line.lstrip().startswith("::set-output") for line in done.log.splitlines()), done.log


@pytest.mark.parametrize(
    ("event", "head", "cache", "saves"),
    [
        ("push", "", "true", "true"),
        ("push", "", "read", "false"),
        ("push", "", "off", "false"),
        ("pull_request", "someone/models", "true", "true"),
        ("pull_request", "fork/models", "true", "false"),
        ("pull_request", "", "true", "false"),
        ("pull_request_target", "someone/models", "true", "false"),
        ("workflow_run", "", "true", "false"),
        ("issue_comment", "", "true", "false"),
        ("schedule", "", "true", "true"),
    ],
)
def test_a_fork_never_saves(runner: Runner, event: str, head: str, cache: str, saves: str) -> None:
    runner.event = event
    runner.payload = {"pull_request": {"head": {"repo": {"full_name": head}}}} if head else {}
    (runner.temp / "modelspec-cache/v1/ac").mkdir(parents=True)
    change(runner, "apiVersion: modelspec/v1", "apiVersion: modelspec/v0")
    done = action(runner, cache=cache, fail_on="never")
    assert done.output("given", "saves") == saves
    assert ("Save results" in done.used) == (saves == "true")
    assert ("Restore results" in done.used) == (cache != "off")


@pytest.mark.parametrize(("version", "extras"), [("0.1.0", "onnx"), ("", "onnx,serve"), ("", "")])
def test_what_is_installed(runner: Runner, version: str, extras: str, tmp_path: Path) -> None:
    """By a python that only says what it is asked for."""
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text("#!/bin/sh\nprintf '<%s>' \"$@\"; echo\n")
    python.chmod(0o755)
    script = ROOT / ".github/actions/install.sh"
    env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "VERSION": version, "EXTRAS": extras}
    done = subprocess.run([script], env=env, capture_output=True, text=True, check=True)
    what = f"[{extras}]" if extras else ""
    wanted = f"modelspec-build{what}=={version}" if version else f"{ROOT}{what}"
    assert done.stdout.splitlines()[0].endswith(f"<{wanted}>")


def test_plan_gives_a_job_for_each_target(runner: Runner) -> None:
    shutil.copytree(ROOT / "examples/digits", runner.workspace / "digits", ignore=shutil.ignore_patterns("dist"))
    given = {"version": "installed", "python": "", "file": "digits/model.yaml", "runners": '{"cpu": "big"}'}
    done = run_action(".github/actions/plan/action.yml", runner, given)
    assert done.status == 0, done.log
    jobs = json.loads(done.context["outputs"]["matrix"])["include"]
    assert {(job["target"], job["device"], job["precision"], job["state"], job["runner"]) for job in jobs} == {
        ("cpu-int8", "cpu", "int8", "work", "big"), ("cpu-fp32", "cpu", "fp32", "work", "big"),
    }  # fmt: skip
    (runner.workspace / "digits/model.yaml").write_text("name: X\n")
    failed = run_action(".github/actions/plan/action.yml", runner, given)
    assert failed.status == 2
    assert "::error file=digits/model.yaml,line=1" in failed.log
    assert json.loads(Path(failed.context["outputs"]["sarif"]).read_bytes())["runs"][0]["results"]
