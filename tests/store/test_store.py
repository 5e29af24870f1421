"""The store: whole or absent, verified on the way out, private, healed by a rebuild."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelspec import digest
from modelspec.store import gc
from modelspec.store.record import Output, Record
from modelspec.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def put(store: Store, data: bytes) -> Output:
    path = store.open_session() / "draft"
    path.write_bytes(data)
    return store.add(path)


def record_of(store: Store, name: str, data: bytes) -> Record:
    preimage = {"stage": "convert", "name": name}
    output = put(store, data)
    outputs = (Output("model/model.onnx", output.sha256, output.size),)
    record = Record(digest.of_json(preimage), preimage, outputs, "exact", 0.5)
    store.keep(record)
    return record


def test_bytes_come_back_whole(store: Store, tmp_path: Path) -> None:
    output = put(store, b"weights")
    assert store.take(output.sha256, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"weights"


def test_a_copy_shares_nothing_with_the_store(store: Store, tmp_path: Path) -> None:
    output = put(store, b"weights")
    store.take(output.sha256, tmp_path / "copy")
    (tmp_path / "copy").write_bytes(b"edited!")
    assert (tmp_path / "copy").stat().st_nlink == 1
    assert store.take(output.sha256, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == b"weights"


def test_a_damaged_object_is_a_miss_and_is_dropped(store: Store, tmp_path: Path) -> None:
    output = put(store, b"weights")
    blob = store.blob(output.sha256)
    blob.chmod(0o644)
    blob.write_bytes(b"weighty")
    assert not store.take(output.sha256, tmp_path / "copy")
    assert not blob.exists()
    assert not (tmp_path / "copy").exists()


def test_a_record_without_its_bytes_is_a_miss(store: Store) -> None:
    record = record_of(store, "a", b"model")
    assert store.find(record.key) == record
    store.blob(record.outputs[0].sha256).unlink()
    assert store.find(record.key) is None


def test_every_truncation_and_every_flipped_byte_of_a_record_is_a_miss(store: Store) -> None:
    record = record_of(store, "a", b"model")
    data = record.to_bytes()
    assert Record.from_bytes(data, record.key) == record
    for length in range(len(data)):
        assert Record.from_bytes(data[:length], record.key) is None
    for index in range(len(data)):
        assert Record.from_bytes(data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :], record.key) is None


def test_a_record_under_another_key_is_a_miss(store: Store) -> None:
    record = record_of(store, "a", b"model")
    assert Record.from_bytes(record.to_bytes(), "0" * 64) is None


def test_the_cache_is_private(store: Store) -> None:
    record_of(store, "a", b"model")
    assert store.root.stat().st_mode & 0o077 == 0


def test_the_debris_of_a_dead_process_is_swept(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys; from modelspec.store.store import Store; "
        "(Store(pathlib.Path(sys.argv[1])).open_session() / 'half').write_text('x'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "cache")])
    store = Store(tmp_path / "cache")
    assert list((store.root / "tmp").rglob("half"))
    store.open_session()
    assert not list((store.root / "tmp").rglob("half"))


def test_the_folder_of_a_live_process_is_not_swept(store: Store, tmp_path: Path) -> None:
    session = store.open_session()
    Store(tmp_path / "cache").open_session()
    assert session.is_dir()


def test_a_lock_has_one_holder(store: Store) -> None:
    first, second = store.lock("key"), store.lock("key")
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire()


def test_a_planted_link_is_not_followed(store: Store, tmp_path: Path) -> None:
    (store.root / "locks").mkdir(parents=True)
    (store.root / "locks" / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        store.lock("key").try_acquire()
    assert not (tmp_path / "elsewhere").exists()


def test_pruning_drops_the_oldest_and_keeps_shared_bytes(store: Store) -> None:
    old, new = record_of(store, "old", b"o" * 1000), record_of(store, "new", b"n" * 1000)
    shared = record_of(store, "shared", b"n" * 1000)
    for age, record in enumerate((new, shared, old)):
        path = store.root / "ac" / record.key[:2] / f"{record.key}.json"
        os.utime(path, (path.stat().st_mtime - 100 * age,) * 2)
    assert gc.prune(store, 1500, None, dry_run=True) == gc.Pruned(1, 1, 1000)
    assert gc.prune(store, 1500, None, dry_run=False) == gc.Pruned(1, 1, 1000)
    assert store.find(old.key) is None
    assert store.find(new.key)
    assert store.find(shared.key)
    assert gc.total_bytes(store) == 1000


def test_the_last_record_of_an_action_is_remembered(store: Store) -> None:
    record = record_of(store, "a", b"model")
    store.set_latest("spec", "convert", record.key)
    assert store.latest("spec", "convert") == record
    assert store.latest("spec", "quantize") is None


def test_a_record_is_json_with_the_whole_preimage(store: Store) -> None:
    record = record_of(store, "a", b"model")
    value = json.loads(record.to_bytes().splitlines()[0])
    assert value["preimage"] == {"stage": "convert", "name": "a"}
    assert value["formatVersion"] == 1
