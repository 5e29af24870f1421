"""The stat cache: a file is hashed again whenever anything about it changed, and only then."""

import os
import time
from pathlib import Path

import pytest

from modelspec import digest
from modelspec.store.stat_cache import StatCache


def old_file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the file be older than the racy window, without waiting."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10_000_000_000)


def count_hashes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    hashed: list[Path] = []
    original = digest.of_file

    def counting(path: Path) -> str:
        hashed.append(path)
        return original(path)

    monkeypatch.setattr(digest, "of_file", counting)
    return hashed


@pytest.mark.usefixtures("late")
def test_an_untouched_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = old_file(tmp_path / "weights", b"one")
    hashed = count_hashes(monkeypatch)
    first = StatCache(tmp_path / "stat.json")
    expected = first.of_file(path)
    first.save()
    assert StatCache(tmp_path / "stat.json").of_file(path) == expected == (digest.of_bytes(b"one"), 3)
    assert len(hashed) == 1


@pytest.mark.usefixtures("late")
def test_same_size_and_mtime_is_not_enough(tmp_path: Path) -> None:
    path = old_file(tmp_path / "weights", b"one")
    cache = StatCache(tmp_path / "stat.json")
    cache.of_file(path)
    before = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.of_file(path)[0] == digest.of_bytes(b"two")


def test_a_file_just_written_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = old_file(tmp_path / "weights", b"one")
    hashed = count_hashes(monkeypatch)
    cache = StatCache(tmp_path / "stat.json")
    cache.of_file(path)
    cache.of_file(path)
    assert len(hashed) == 2


@pytest.mark.usefixtures("late")
def test_every_truncation_and_every_flipped_byte_makes_it_an_empty_one(tmp_path: Path) -> None:
    """A rotten digest would have each build say that a file changed which did not."""
    path, file = old_file(tmp_path / "weights", b"one"), tmp_path / "stat.json"
    cache = StatCache(file)
    cache.of_file(path)
    cache.save()
    data = file.read_bytes()
    flipped = (data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :] for i in range(len(data)))
    for changed in (*(data[:length] for length in range(len(data))), *flipped):
        file.write_bytes(changed)
        assert StatCache(file).of_file(path)[0] == digest.of_bytes(b"one")
        assert not StatCache(file)._entries


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"x": 1}', b"\xff"])
def test_a_damaged_cache_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "stat.json").write_bytes(content)
    path = old_file(tmp_path / "weights", b"one")
    assert StatCache(tmp_path / "stat.json").of_file(path)[0] == digest.of_bytes(b"one")
