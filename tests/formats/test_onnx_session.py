"""Sessions of ONNX Runtime: what was asked for is what is used."""

from pathlib import Path

import pytest

from modelspec.errors import ModelspecError
from modelspec.formats.onnx_session import open_session
from tests.stages import graphs


def test_a_provider_that_is_not_used_is_an_error(tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has the provider")
    with pytest.raises(ModelspecError, match=r"MS422 .*CUDAExecutionProvider.*fell back to CPUExecutionProvider"):
        open_session(graphs.mlp(tmp_path) / "model.onnx", provider=("CUDAExecutionProvider", {}))


def test_the_provider_that_was_named_is_used(tmp_path: Path) -> None:
    assert open_session(graphs.mlp(tmp_path) / "model.onnx").outputs == ("logits",)
