"""`modelspec inspect`: what is no published folder is said, whatever lies there."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from modelspec.cli import command


@pytest.mark.parametrize("text", ["", "x", "{}", "[]", "null", '{"name": "a", "version": 1, "tools": []}', "\0"])
@pytest.mark.parametrize("format_", ["human", "json"])
def test_no_record_of_a_build(text: str, format_: str, tmp_path: Path) -> None:
    (tmp_path / "build.json").write_text(text)
    result = CliRunner().invoke(command, ["inspect", "--format", format_, str(tmp_path)])
    assert result.exit_code == 2
    assert "MS325" in result.output


def test_nothing_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["inspect", str(tmp_path)])
    assert result.exit_code == 2
    assert "holds no build.json" in result.stderr
