"""What docs/ci.md shows exists: hooks, inputs, outputs, and the options of its commands."""

import re

import pytest
import yaml
from click.testing import CliRunner

from modelspec.cli import command
from tests.workflow.runner import ROOT, load

TEXT = (ROOT / "docs/ci.md").read_text()
YAML = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)]
SHELL = re.findall(r"^modelspec [^#\n]*", TEXT, re.MULTILINE)


def test_the_hooks_are_those_of_the_manifest() -> None:
    shown = [hook["id"] for hook in YAML[0]["repos"][0]["hooks"]]
    assert shown == [hook["id"] for hook in load(".pre-commit-hooks.yaml")]  # type: ignore[index]


def test_inputs_and_outputs_are_those_of_the_action() -> None:
    action = load("action.yml")
    ((step,),) = YAML[1:]
    assert set(step["with"]) <= set(action["inputs"])
    (outputs,) = re.findall(r"^- Outputs: (.*)$", TEXT, re.MULTILINE)
    assert set(re.findall(r"`([\w-]+)`", outputs)) == set(action["outputs"])


@pytest.mark.parametrize("line", SHELL)
def test_commands_have_these_options(line: str, tmp_path: object) -> None:
    words = line.split(">", maxsplit=1)[0].split()[1:]
    done = CliRunner().invoke(command, [*words, "--file", "no-such.yaml"])
    assert done.exit_code == 2
    assert "MS109" in done.output
