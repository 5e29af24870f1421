"""Fixtures of the tests of images."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.oci import services


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that takes everything."""
    with services.registry_in(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(scope="session")
def locked_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that asks for a password."""
    with services.registry_in(tmp_path_factory.mktemp("locked"), password=True) as host:
        yield host


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Docker engine."""
    with services.engine_in(tmp_path_factory.mktemp("engine")) as address:
        yield address


@pytest.fixture(scope="session")
def base_tar() -> Path:
    """A root file system with Python 3."""
    return services.base_tar()


@pytest.fixture(scope="session")
def base_image(engine: str, base_tar: Path) -> str:
    """It as an image of the engine."""
    name = "modelspec-tests/base:bookworm"
    subprocess.run(
        ["docker", "-H", engine, "import", str(base_tar), name], check=True, capture_output=True, timeout=120
    )
    return name
