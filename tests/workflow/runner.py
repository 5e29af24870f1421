"""Runs the `run:` steps of an action or of a job as GitHub's runner does: bash -eo pipefail, environment files, outputs.

`uses:` steps are not run; they are kept, with their inputs, and may be given outputs. Expressions are the few forms that
the files have.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FILES = ("action.yml", *(f".github/actions/{p.parent.name}/action.yml" for p in ROOT.glob(".github/actions/*/action.yml")),
         *(f".github/workflows/{p.name}" for p in sorted(ROOT.glob(".github/workflows/*.yml"))))  # fmt: skip

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_TOKEN = re.compile(r"\s*('(?:[^']|'')*'|&&|\|\||==|!=|!|\(|\)|[A-Za-z_][\w.-]*)")
_PYTHON = {"&&": " and ", "||": " or ", "!": " not ", "==": "==", "!=": "!=", "(": "(", ")": ")"}


def load(name: str) -> dict[str, Any]:
    """A YAML file of the repository."""
    value: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return value


def evaluate(expression: str, context: Mapping[str, Any]) -> Any:
    """The value of an expression of names, strings and operators; what is unknown is empty."""
    parts, at = [], 0
    while at < len(expression.rstrip()):
        token = _TOKEN.match(expression, at)
        assert token, f"the runner of the tests cannot read {expression!r}"
        at, text = token.end(), token[1]
        if text in _PYTHON:
            parts.append(_PYTHON[text])
        elif text.startswith("'"):
            parts.append(repr(text[1:-1].replace("''", "'")))
        else:
            parts.append(repr(_look_up(text, context)))
    return eval("".join(parts))  # repr of strings, and operators: nothing of a user is code


def _look_up(name: str, context: Mapping[str, Any]) -> Any:
    value: Any = context
    for part in name.split("."):
        value = value.get(part, "") if isinstance(value, Mapping) else ""
    return value


def filled(text: str, context: Mapping[str, Any]) -> str:
    """A text with its expressions replaced."""
    return _EXPRESSION.sub(lambda found: str(evaluate(found[1], context)), str(text))


def read_file(path: Path) -> dict[str, str]:
    """An environment file: `name=value`, or `name<<end` and lines up to `end`."""
    values: dict[str, str] = {}
    lines = iter(path.read_text().splitlines())
    for line in lines:
        if found := re.match(r"([^=<]+)<<(.+)$", line):
            text = []
            while (line := next(lines)) != found[2]:
                text.append(line)
            values[found[1]] = "\n".join(text)
        else:
            name, equals, value = line.partition("=")
            assert equals, f"not a line of an environment file: {line!r}"
            values[name] = value
    return values


@dataclass
class Ran:
    """What came of the steps."""

    context: dict[str, Any]
    log: str = ""
    status: int = 0
    summary: str = ""
    used: dict[str, dict[str, str]] = field(default_factory=dict)
    """Inputs of the `uses:` steps that were reached, by step name."""
    ran: list[str] = field(default_factory=list)

    def output(self, step: str, name: str) -> str:
        """An output of a step."""
        return str(self.context["steps"][step]["outputs"][name])


@dataclass
class Runner:
    """A runner with a workspace and a temporary folder."""

    workspace: Path
    temp: Path
    event: str = "push"
    payload: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    def steps(
        self, steps: list[dict[str, Any]], context: Mapping[str, Any], action: Path | None = None,
        used: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Ran:  # fmt: skip
        """Run steps in order, until one fails. `used` gives the outputs of `uses:` steps by their id."""
        self.temp.mkdir(exist_ok=True)
        github = {"event_name": self.event, "event": self.payload}
        runner = {"temp": str(self.temp), "os": "Linux", "arch": "X64"}
        done = Ran({"github": github, "runner": runner, "steps": {}, **context})
        for step in steps:
            if "if" in step and not evaluate(step["if"], done.context):
                continue
            if "uses" in step:
                done.used[step["name"]] = {k: filled(v, done.context) for k, v in step.get("with", {}).items()}
                outputs = dict((used or {}).get(step.get("id", ""), {}))
            else:
                done.ran.append(step["name"])
                outputs = self._run(step, done, action)
            if "id" in step:
                done.context["steps"][step["id"]] = {"outputs": outputs}
            if done.status:
                break
        return done

    def _run(self, step: dict[str, Any], done: Ran, action: Path | None) -> dict[str, str]:
        assert "${{" not in step["run"], "a script takes values from its environment only"
        files = {
            name: self.temp / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV", "GITHUB_PATH")
        }
        for path in files.values():
            path.write_text("")
        script = self.temp / "step.sh"
        script.write_text(step["run"])
        env = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(self.temp), "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT), "GITHUB_ACTIONS": "true", "CI": "true", "GITHUB_EVENT_NAME": self.event,
            "GITHUB_REPOSITORY": "someone/models", "GITHUB_WORKSPACE": str(self.workspace), "RUNNER_OS": "Linux",
            "RUNNER_ARCH": "X64", "RUNNER_TEMP": str(self.temp), **self.env,
            **({"GITHUB_ACTION_PATH": str(action)} if action else {}),
            **{name: str(path) for name, path in files.items()},
            **{name: filled(value, done.context) for name, value in step.get("env", {}).items()},
        }  # fmt: skip
        folder = self.workspace / filled(step.get("working-directory", "."), done.context)
        shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        ended = subprocess.run(
            shell, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600
        )
        done.log += ended.stdout
        done.status = ended.returncode
        done.summary += files["GITHUB_STEP_SUMMARY"].read_text()
        return read_file(files["GITHUB_OUTPUT"])


def run_action(
    name: str, runner: Runner, given: Mapping[str, str], used: Mapping[str, Mapping[str, str]] | None = None
) -> Ran:
    """Run a composite action with the inputs that are given. Its outputs are in the context."""
    action = load(name)
    inputs = {key: value.get("default", "") for key, value in action["inputs"].items()}
    assert not set(given) - set(inputs)
    done = runner.steps(action["runs"]["steps"], {"inputs": {**inputs, **given}}, (ROOT / name).parent, used)
    done.context["outputs"] = {
        key: filled(value["value"], done.context) for key, value in action.get("outputs", {}).items()
    }
    return done
