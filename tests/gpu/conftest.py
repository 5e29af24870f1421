"""What the tests of a GPU need, or the reason for which they are skipped."""

import pytest

from modelspec import nvidia, toolchain
from modelspec.nvidia import Gpu


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    """The first GPU."""
    found = nvidia.first()
    if found is None:
        pytest.skip("no NVIDIA GPU, or no driver")
    return found


@pytest.fixture(scope="session")
def cuda(gpu: Gpu) -> Gpu:
    """The first GPU, where ONNX Runtime can use it."""
    if toolchain.version("onnxruntime-gpu") is None:
        pytest.skip("onnxruntime-gpu is not installed")
    return gpu


@pytest.fixture(scope="session")
def tensorrt(gpu: Gpu) -> Gpu:
    """The first GPU, where TensorRT can use it."""
    pytest.importorskip("tensorrt", reason="tensorrt is not installed", exc_type=ImportError)
    return gpu
