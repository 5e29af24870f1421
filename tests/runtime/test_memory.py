"""A server that has answered long holds no more memory than one that has just begun."""

from pathlib import Path

import pytest

from benchmarks.memory import growth


@pytest.mark.long
def test_memory_does_not_grow(folder: Path) -> None:
    assert growth(folder, 10_000, 40_000).ratio < 1.05
