"""`modelspec build`: its own options; what it builds is in tests/build."""

import pytest
from click.testing import CliRunner

from modelspec.cli import command


@pytest.mark.parametrize("limit", ["nan", "inf", "0", "-1", "1e9"])
def test_every_wait_has_a_deadline(limit: str) -> None:
    result = CliRunner().invoke(command, ["build", "--timeout", limit, "-f", "nothing.yaml"])
    assert result.exit_code == 2
    assert "--timeout" in result.stderr
