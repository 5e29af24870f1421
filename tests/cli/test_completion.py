"""`modelspec completion`: a script for each shell."""

import pytest
from click.testing import CliRunner

from modelspec.cli import command


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script(shell: str) -> None:
    result = CliRunner().invoke(command, ["completion", shell])
    assert result.exit_code == 0
    assert "_MODELSPEC_COMPLETE" in result.stdout


def test_other_shells_are_refused() -> None:
    assert CliRunner().invoke(command, ["completion", "tcsh"]).exit_code == 2
