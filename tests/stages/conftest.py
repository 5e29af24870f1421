"""Data sets that several test modules train on."""

from pathlib import Path

import pytest

from tests.stages import graphs, modules


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image, digit, *_ = modules.digits()
    return graphs.data(tmp_path_factory.mktemp("train") / "set", "digit", image=image, digit=digit)


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough to see that something happens."""
    image, digit, *_ = modules.digits()
    return graphs.data(tmp_path_factory.mktemp("few") / "set", "digit", image=image[:97], digit=digit[:97])
