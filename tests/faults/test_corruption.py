"""Bytes that change behind the store's back: each change is found, none is served, the next build makes it good."""

import os
import random
import shutil
from pathlib import Path

import pytest

from modelspec.store import gc
from modelspec.store.files import is_sound
from modelspec.store.store import BlobLostError, Store
from tests.conftest import Tell
from tests.faults.workbench import World, use_bench


def built(root: Path) -> World:
    world = World(root)
    world.make()
    run(world)
    return world


def run(world: World) -> None:
    """A build in a process of its own, which remembers nothing."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            use_bench()
            world.build()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def files(world: World, *parts: str) -> list[Path]:
    """Every file in these parts of the cache."""
    return sorted(path for part in parts for path in (world.store.root / part).rglob("*") if path.is_file())


def corrupt(path: Path, kind: str, at: random.Random) -> None:
    data = bytearray(path.read_bytes())
    path.chmod(0o644)
    if kind == "flip":
        data[at.randrange(len(data))] ^= 1 << at.randrange(8)
    elif kind == "cut":
        del data[at.randrange(len(data)) :]
    elif kind == "longer":
        data += b"\0" * at.randrange(1, 100)
    elif kind == "empty":
        data.clear()
    elif kind == "swapped":
        data = bytearray(len(data))
    if kind in {"gone", "folder", "link"}:
        path.unlink()
    if kind == "folder":
        (path / "inside").mkdir(parents=True)
    elif kind == "link":
        path.symlink_to("/etc/hostname")
    elif kind != "gone":
        path.write_bytes(data)


KINDS = ("flip", "cut", "longer", "empty", "swapped", "gone", "folder", "link")


def heal(tmp_path: Path, count: int) -> int:
    """Corrupt a file, or several at once, and build: the same bytes are published, and the cache is sound again."""
    world = built(tmp_path / "world")
    right, at = world.published(), random.Random(0)
    for number in range(count):
        for path in at.sample(files(world, "cas", "ac", "latest"), 1 + number % 3):
            corrupt(path, KINDS[number % len(KINDS)], at)
        if number % 2:
            shutil.rmtree(world.project / "dist")
        else:
            published = [path for path in world.dist.rglob("*") if path.is_file() and path.name != "build.json"]
            corrupt(at.choice(published), KINDS[number // 2 % len(KINDS)], at)
        run(world)
        assert world.published() == right, (number, KINDS[number % len(KINDS)])
        gc.verify(world.store, repair=True)  # what this build had no need to read
        assert not gc.verify(world.store, repair=False).defects
    return count


def test_whole_builds_heal(tmp_path: Path, tell: Tell) -> None:
    count = heal(tmp_path, 24)
    tell(f"{count} builds from a corrupted cache: all right")


@pytest.mark.faults
def test_many_whole_builds_heal(tmp_path: Path, tell: Tell) -> None:
    count = heal(tmp_path, 1000)
    tell(f"{count} builds from a corrupted cache: all right")


def changes(data: bytes) -> list[bytes]:
    """Cut off at every byte, and every byte flipped in one bit."""
    cut = [data[:length] for length in range(len(data))]
    return cut + [data[:i] + bytes([data[i] ^ (1 << i % 8)]) + data[i + 1 :] for i in range(len(data))]


def served(store: Store, sha256: str, copy: Path | None) -> bool:
    """Whether the store hands out what lies under a digest: as a copy, or as bytes."""
    try:
        store.take(sha256, copy) if copy else store.read(sha256)
    except BlobLostError:
        assert not copy or not copy.exists()
        return False
    return True


def test_every_cut_and_every_flip_is_found(tmp_path: Path, tell: Tell) -> None:
    """Of records all of them, of objects a part; and none of it is served."""
    world = built(tmp_path / "world")
    store = world.store
    count = 0
    for path in files(world, "ac"):
        data = path.read_bytes()
        assert store.record(path.stem)
        for changed in changes(data):
            path.write_bytes(changed)
            assert store.record(path.stem) is None
            count += 1
        path.write_bytes(data)
    for path in files(world, "cas"):
        data = path.read_bytes()
        for changed in changes(data)[:: max(1, len(data) // 20)]:
            path.unlink(missing_ok=True)
            path.write_bytes(changed)
            assert not is_sound(path, path.name)
            assert not served(store, path.name, tmp_path / "copy" if count % 2 else None)
            count += 1
        path.write_bytes(data)
        assert served(store, path.name, tmp_path / "copy")
    assert not gc.verify(store, repair=False).defects
    assert count >= 10_000
    tell(f"{count} cuts and flips of records and objects: all found, none served")
