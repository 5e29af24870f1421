"""What a valid spec holds once it is read."""

from pathlib import Path

import pytest

from modelspec.errors import ModelspecError
from modelspec.spec.load import load
from modelspec.spec.yaml import MAX_PROBLEMS

HEAD = """\
apiVersion: modelspec/v1
name: digits
version: "1.0.0"
targets: [{device: cpu}]
"""
SIGNATURE = "signature: {inputs: {x: {dtype: float32, shape: [batch, 3]}}}\n"


def test_parameters_of_user_code_are_any_json(project: Path) -> None:
    params = "{widths: [16, [32, 64]], options: {dropout: 0.5, names: [a]}, bias: true, head: null}"
    text = f'{HEAD}{SIGNATURE}source: {{framework: pytorch, entrypoint: "model.py:build", params: {params}}}\n'
    source = load(project / "model.yaml", text=text.encode()).spec.source
    expected = {"widths": [16, [32, 64]], "options": {"dropout": 0.5, "names": ["a"]}, "bias": True, "head": None}
    assert source.model_dump()["params"] == expected
    assert source.keyed()["params"] == expected


def test_says_that_there_may_be_more(project: Path) -> None:
    text = HEAD + "source: {framework: onnx, artifact: model.onnx}\n" + "".join(f"key{n}: 1\n" for n in range(500))
    with pytest.raises(ModelspecError) as caught:
        load(project / "model.yaml", text=text.encode())
    assert len(caught.value.diagnostics) == MAX_PROBLEMS
    assert "there may be more" in caught.value.notes[0]
