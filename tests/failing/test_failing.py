"""Every refused spec gives exactly its expected message, and never a traceback."""

import time
from pathlib import Path

import pytest

from modelspec.cli.errors import sources
from modelspec.errors import Exit, ModelspecError
from modelspec.report.diagnostics import render
from modelspec.spec.load import load

CASES = Path(__file__).parent
HEAD = b'apiVersion: modelspec/v1\nname: digits\nversion: "1.0.0"\n'
REST = b"source: {framework: onnx, artifact: model.onnx}\ntargets: [{device: cpu}]\n"

GENERATED = {
    "made-nested-brackets": b"[" * 3000,
    "made-nested-blocks": b"".join(b" " * depth + b"a:\n" for depth in range(100)),
    "made-nested-keys": b"? " * 3000,
    "made-huge-integer": HEAD + REST + b"convert: {opset: " + b"9" * 5000 + b"}\n",
    "made-nul": HEAD + b"\0" + REST,
    "made-escape-character": HEAD + b"# \x1b[31mred\n" + REST,
    "made-bidi": HEAD + "# \u202etxt.exe\n".encode() + REST,
    "made-line-separator": HEAD + "# a\u2028name: other\n".encode() + REST,
    "made-utf16": (HEAD + REST).decode().encode("utf-16"),
    "made-utf16-big": b"\xfe\xff" + (HEAD + REST).decode().encode("utf-16-be"),
    "made-latin1": HEAD + b"card: {description: caf\xe9}\n" + REST,
    "made-too-large": HEAD + REST + b"# padding\n" * 110_000,
    "made-bom-and-error": b"\xef\xbb\xbf" + HEAD + b"nmae: x\n" + REST,
    "made-too-many-nodes": HEAD + REST + b"card: {authors: [" + b"a, " * 20_000 + b"]}\n",
    "made-many-problems": HEAD + REST + b"card: {references: [" + b"&a 1, " * 5000 + b"]}\n",
    "made-nul-everywhere": b"\0" * 500_000,
    "made-requires-huge": HEAD + REST + b'requires: {modelspec: ">=' + b"9" * 5000 + b'"}\n',
    "made-requires-huger": HEAD + REST + b'requires: {modelspec: "' + b">=1," * 100_000 + b'"}\n',
    "made-huge-quantity": HEAD + REST + b'evaluate: {gates: [{metric: size, max: "' + b"9" * 5000 + b'MB"}]}\n',
    "made-long-pattern": HEAD + b"source: {framework: onnx, artifact: model.onnx, code: [" + b"x" * 300 + b".py]}\n"
    b"data: {test: {loader: data.py:load}}\nevaluate: {data: test, task: embedding}\ntargets: [{device: cpu}]\n",
    "made-windows-lines": (HEAD + b"nmae: x\n" + REST).replace(b"\n", b"\r\n"),
}
"""Specs that no editor would keep as they are."""

WRITTEN = sorted(path.parent.name for path in CASES.glob("*/model.yaml"))


def messages(text: bytes, project: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(project)
    Path("model.yaml").write_bytes(text)
    with pytest.raises(ModelspecError) as caught:
        load(Path("model.yaml"))
    found = caught.value.diagnostics
    assert all(problem.file == "model.yaml" and problem.span for problem in found)
    assert caught.value.exit in {Exit.SPEC, Exit.UNSAFE}
    shown = render(found, "human", color=False, sources=sources(found))
    for format_ in ("concise", "json", "github", "sarif"):
        assert render(found, format_)
    return shown + "\n"


@pytest.mark.parametrize("case", [*WRITTEN, *sorted(GENERATED)])
def test_message(case: str, project: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    text = GENERATED.get(case) or (CASES / case / "model.yaml").read_bytes()
    expected = CASES / case / "expected.txt"
    shown = messages(text, project, monkeypatch)
    if request.config.getoption("--update-golden", default=False):
        expected.parent.mkdir(exist_ok=True)
        expected.write_text(shown, encoding="utf-8")
    assert shown == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", sorted(GENERATED))
def test_is_refused_at_once(case: str) -> None:
    """No text makes the reader work for long; the limit is generous, and hundreds of times what a spec takes."""
    begin = time.process_time()
    with pytest.raises(ModelspecError):
        load(Path("model.yaml"), text=GENERATED[case])
    assert time.process_time() - begin < 5


def test_there_are_dozens() -> None:
    assert len(WRITTEN) > 100
