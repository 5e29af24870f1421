"""What an editor shows of model.yaml: yaml-language-server with the schema that `modelspec init` puts beside a spec."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workflow.lsp import Client, Message, missing, modules, server

pytestmark = pytest.mark.skipif(bool(missing("yaml-language-server")), reason=missing("yaml-language-server"))

MODELINE = "# yaml-language-server: $schema=modelspec-v1.schema.json\n"
ROOT = Path(__file__).parents[2]


def answers(request: Message) -> object:
    """The settings of an editor that asks nothing of the network."""
    if request["method"] != "workspace/configuration":
        return None
    yaml = {"validate": True, "hover": True, "completion": True, "schemaStore": {"enable": False}, "schemas": {}}
    return [{"yaml": yaml}.get(item["section"], {}) for item in request["params"]["items"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("editor")
    schema = subprocess.run([sys.executable, "-m", "modelspec", "schema"], capture_output=True, check=True).stdout
    (folder / "modelspec-v1.schema.json").write_bytes(schema)
    return folder


@pytest.fixture(scope="module")
def editor(folder: Path) -> Iterator[Client]:
    command: list[str | Path] = ["node", modules() / "yaml-language-server/bin/yaml-language-server", "--stdio"]
    with server(command, folder, answers) as client:
        client.tell("workspace/didChangeConfiguration", {"settings": {}})
        yield client


def spec(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(MODELINE + text)
    return file


@pytest.mark.parametrize("name", sorted(path.parent.name for path in ROOT.glob("examples/*/model.yaml")))
def test_the_examples_are_clean(editor: Client, folder: Path, name: str) -> None:
    text = (ROOT / "examples" / name / "model.yaml").read_text()
    assert editor.open(spec(folder, f"{name}.yaml", text)) == []


BAD = """\
apiVersion: modelspec/v1
name: digits
version: "1.0.0"
source: {framework: sklearn, artefact: model.skops}
targets:
  - {device: cpuu}
  - {device: cpu, precision: int9}
evaluate: {metrics: accuracy}
"""


def test_mistakes_are_marked_where_they_are(editor: Client, folder: Path) -> None:
    found = editor.open(spec(folder, "bad.yaml", BAD))
    said = {(one["range"]["start"]["line"], one["message"].splitlines()[0]) for one in found}
    lines = {line for line, _ in said}
    assert {4, 6, 7} <= lines, said
    assert any("artefact" in text for line, text in said if line == 4), said
    assert any("cpu" in text for line, text in said if line == 6), said
    assert any("int8" in text for line, text in said if line == 7), said


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("apiVersion: modelspec/v1\n|", {"name", "source", "targets", "evaluate", "quantize"}),
        ("source: {framework: |}\n", {"sklearn", "pytorch", "onnx"}),
        ("targets:\n  - device: |\n", {"cpu"}),
        ("targets:\n  - device: cpu\n    precision: |\n", {"fp32", "int8"}),
        ("targets:\n  - device: cpu\n    |\n", {"precision", "name"}),
        ("convert:\n  |\n", {"opset", "parity"}),
    ],
)
def test_completion(editor: Client, folder: Path, text: str, wanted: set[str]) -> None:
    before, _, after = text.partition("|")
    file = spec(folder, f"complete{abs(hash(text))}.yaml", before + after)
    editor.open(file)
    place = {"line": 1 + before.count("\n"), "character": len(before) - before.rfind("\n") - 1}
    found = editor.ask("textDocument/completion", {"textDocument": {"uri": file.as_uri()}, "position": place})
    items = found["items"] if isinstance(found, dict) else found
    assert wanted <= {item["label"] for item in items}


@pytest.mark.parametrize(("word", "wanted"), [("opset", "opset"), ("framework", "framework"), ("targets", "built")])
def test_hover_explains_a_key(editor: Client, folder: Path, word: str, wanted: str) -> None:
    text = (ROOT / "examples/digits/model.yaml").read_text() + "convert: {opset: 18}\n"
    file = spec(folder, f"hover-{word}.yaml", text)
    editor.open(file)
    lines = file.read_text().splitlines()
    line = next(number for number, content in enumerate(lines) if f"{word}:" in content)
    place = {"line": line, "character": lines[line].index(f"{word}:") + 1}
    shown = editor.ask("textDocument/hover", {"textDocument": {"uri": file.as_uri()}, "position": place})
    assert shown is not None
    assert len(str(shown["contents"])) > 30
