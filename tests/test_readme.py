"""README.md against the code: tables, example, exit statuses. `python -m tests.test_readme` writes its tables."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from modelspec import registry
from modelspec.cli import Commands
from modelspec.errors import Exit
from modelspec.spec.load import load
from tests.test_examples import COMMON, TARGETS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"

RESULTS = """\
Results: `exact` gives the same bytes on any machine of the architecture, `numeric` on the same instruction set;
`recorded` comes out otherwise each time, and the first result is kept; `measured` is true of one machine at one time, and is not among the published
checksums."""


def commands() -> str:
    """Every command with its first line of help."""
    group = Commands()
    context = click.Context(group)
    lines = ["| command | |", "|---|---|"]
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        lines.append(f"| `{name}` | {command.get_short_help_str(limit=200)} |")
    return "\n".join(lines)


def parts() -> str:
    """Stages in their order, targets with their precisions, frameworks, loaders."""
    lines = ["| stage | what it does | block in `model.yaml` | result |", "|---|---|---|---|"]
    for name, stage in registry.stages().items():
        block = "" if stage.block is False else f"`{stage.block_name or name}:`"
        lines.append(f"| `{name}` | {stage.summary} | {block} | {stage.determinism.value} |")
    lines += ["", "| device | precisions |", "|---|---|"]
    lines += [f"| `{name}` | {', '.join(target.precisions)} |" for name, target in registry.targets().items()]
    lines += ["", "| framework | exporters | signature | packages |", "|---|---|---|---|"]
    for name, framework in registry.frameworks().items():
        inferred = "inferred" if framework.infers_signature else "written"
        packages = ", ".join(framework.packages)
        lines.append(f"| `{name}` | {', '.join(framework.exporters)} | {inferred} | {packages} |")
    lines += ["", "| loader | files |", "|---|---|"]
    for name, loader in registry.loaders().items():
        lines.append(f"| `{name}` | {', '.join(f'`{suffix}`' for suffix in loader.suffixes)} |")
    lines += [
        "",
        RESULTS,
    ]
    return "\n".join(lines)


def example() -> str:
    """The spec of the example, whole."""
    return f"```yaml\n{(ROOT / 'examples/digits/model.yaml').read_text()}```"


SECTIONS = {"commands": commands, "registry": parts, "examples/digits/model.yaml": example}


def generated(text: str) -> str:
    """The README with its generated sections as they should be."""
    for name, make in SECTIONS.items():
        begin, end = f"<!-- begin: {name} -->\n", "\n<!-- end -->"
        before, rest = text.split(begin)
        _, after = rest.split(end.lstrip("\n"), 1)
        text = f"{before}{begin}{make()}{end}{after}"
    return text


def block(name: str) -> str:
    """The fenced block that follows the line `<!-- name -->`."""
    found = re.search(rf"^<!-- {re.escape(name)} -->\n```\w*\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    assert found, name
    return found[1]


def links() -> Iterator[str]:
    """What the README links to."""
    yield from re.findall(r"\]\(([^)#]+)\)", README.read_text())


def test_tables_are_fresh() -> None:
    text = README.read_text()
    assert text == generated(text), "run: python -m tests.test_readme"


def test_every_exit_status_is_explained() -> None:
    table = README.read_text().split("| exit status |")[1].split("\n\n")[0]
    numbers = {int(n) for cell in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for n in cell.split(",")}
    assert numbers == {int(status) for status in Exit}


@pytest.mark.parametrize("path", sorted(set(links())))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).exists()


def test_ci_runs_the_commands_of_the_readme() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert 'eval "$(block install)"' in script
    assert 'eval "$(block tests)"' in script
    for name in ("install", "tests"):
        extract = script.split("block() {\n")[1].split("\n}")[0].replace("$1", name)
        done = subprocess.run(["bash", "-euc", extract], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout == block(name)


def test_the_blocks_shown_are_valid(project: Path) -> None:
    """Each in the place of the example's own, or beside them."""
    spec = yaml.safe_load((ROOT / "examples/digits/model.yaml").read_text())
    address, smaller, deployed = (yaml.safe_load(block(name)) for name in ("by address", "smaller", "deployed"))
    data = {name: {"path": f"{name}.npz", "labels": "digit"} for name in ("test", "train", "validation")}
    data["calibration"] = {"path": "calibration.npz"}
    shutil.copy(project / "test.npz", project / "validation.npz")
    changed = {**spec, **smaller, **deployed, "data": data, "source": {**spec["source"], **address["source"]}}
    (project / "model.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))
    loaded = load(project / "model.yaml")
    assert not loaded.warnings
    assert {*smaller, *deployed} <= {*loaded.spec.blocks, "tune"}


def test_the_output_shown_is_of_this_example() -> None:
    """The figures are copied from a real run; what can be told without one is checked here."""
    shown = block("first build")
    for word in ("convert", "quantize", "compile", "evaluate", "benchmark", "cpu-int8", "cpu-fp32", "accuracy", "size"):
        assert word in shown
    assert "nothing to do" in block("second build")
    files = {f"{target}/{file}" for target in TARGETS["digits"] for file in COMMON}
    expected = sorted(f"dist/digits/1.0.0/{file}" for file in files | {"MODEL_CARD.md", "build.json", "checksums.txt"})
    assert shown.partition("| sort\n")[2].splitlines() == expected


if __name__ == "__main__":
    README.write_text(generated(README.read_text()))
