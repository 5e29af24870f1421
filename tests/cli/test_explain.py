"""`modelspec explain`: the page of a code, all codes, and what is no code."""

import pytest
from click.testing import CliRunner

from modelspec.cli import command
from modelspec.errors import CODES


@pytest.mark.parametrize("code", CODES)
def test_explains(code: str) -> None:
    result = CliRunner().invoke(command, ["explain", code.lower()])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{code}: {CODES[code][1]}\n\n")
    assert "\nFixed\n" in result.stdout


def test_lists_all() -> None:
    result = CliRunner().invoke(command, ["explain"])
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(CODES)


def test_no_such_code() -> None:
    result = CliRunner().invoke(command, ["explain", "MS999"])
    assert result.exit_code == 2
    assert "MS325" in result.stderr


def test_a_misspelt_code() -> None:
    assert "did you mean 'MS203'?" in CliRunner().invoke(command, ["explain", "203"]).stderr
