"""`modelspec schema` prints the committed schema."""

from click.testing import CliRunner

from modelspec import resources
from modelspec.cli import command


def test_prints_the_committed_schema() -> None:
    result = CliRunner().invoke(command, ["schema"])
    assert result.exit_code == 0
    assert result.stdout == (resources.folder("schemas") / "modelspec-v1.schema.json").read_text(encoding="utf-8")
