"""The store: whole or absent, verified on the way out, private, healed by a rebuild."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from modelspec import digest
from modelspec.errors import ModelspecError
from modelspec.store import gc
from modelspec.store.files import seal
from modelspec.store.record import Output, Record
from modelspec.store.roots import keep_root
from modelspec.store.store import BlobLostError, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def record_of(store: Store, name: str, data: bytes, determinism: str = "exact") -> Record:
    """A finished action with one output."""
    preimage = {"stage": "convert", "name": name}
    folder = store.open_session() / name
    (folder / "model").mkdir(parents=True)
    path = folder / "model" / "model.onnx"
    path.write_bytes(data)
    outputs = (Output("model/model.onnx", *seal(path)),)
    record = Record(digest.of_json(preimage), preimage, outputs, determinism, 0.5)
    store.commit(record, folder)
    return record


def put(store: Store, data: bytes) -> Output:
    return record_of(store, f"put-{digest.of_bytes(data)[:8]}", data).outputs[0]


def test_bytes_come_back_whole(store: Store, tmp_path: Path) -> None:
    output = put(store, b"weights")
    store.take(output.sha256, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == store.read(output.sha256) == b"weights"


def test_a_copy_shares_nothing_with_the_store(store: Store, tmp_path: Path) -> None:
    output = put(store, b"weights")
    store.take(output.sha256, tmp_path / "copy")
    (tmp_path / "copy").write_bytes(b"edited!")
    assert (tmp_path / "copy").stat().st_nlink == 1
    store.take(output.sha256, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == b"weights"


def damage(store: Store, sha256: str) -> Path:
    """Flip one bit and keep the size."""
    blob = store.blob(sha256)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(data)
    return blob


def test_a_damaged_object_is_a_miss_and_is_put_aside(store: Store, tmp_path: Path) -> None:
    output = put(store, b"weights")
    blob = damage(store, output.sha256)
    with pytest.raises(BlobLostError):
        store.take(output.sha256, tmp_path / "copy")
    assert not blob.exists()
    assert not (tmp_path / "copy").exists()
    assert [path.name[:64] for path in (store.root / "quarantine").iterdir()] == [output.sha256]


def test_a_small_object_is_verified_as_well(store: Store) -> None:
    output = put(store, b"weights")
    damage(store, output.sha256)
    with pytest.raises(BlobLostError):
        store.read(output.sha256)


def test_the_same_bytes_made_again_heal_what_was_damaged(store: Store, tmp_path: Path) -> None:
    output = put(store, b"weights")
    damage(store, output.sha256)
    record_of(store, "again", b"weights")
    store.take(output.sha256, tmp_path / "copy")


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


def aged(store: Store, *records: Record) -> None:
    """Make each older than the one before it."""
    for age, record in enumerate(records, start=1):
        os.utime(store.record_path(record.key), (time.time() - 1000 * age,) * 2)


def test_pruning_drops_the_oldest_and_keeps_shared_bytes(store: Store) -> None:
    old, new = record_of(store, "old", b"o" * 1000), record_of(store, "new", b"n" * 1000)
    shared = record_of(store, "shared", b"n" * 1000)
    store.close_session()
    aged(store, new, shared, old)
    assert gc.prune(store, 1500, None, dry_run=True) == gc.Pruned(1, 1, 1000)
    assert gc.prune(store, 1500, None, dry_run=False) == gc.Pruned(1, 1, 1000)
    assert store.find(old.key) is None
    assert store.find(new.key)
    assert store.find(shared.key)
    assert gc.total_bytes(store) == 1000


def test_pruning_by_age_counts_from_the_last_use(store: Store) -> None:
    used, unused = record_of(store, "used", b"u"), record_of(store, "unused", b"n")
    store.close_session()
    aged(store, used, unused)
    store.open_session()
    store.find(used.key)
    store.close_session()
    assert gc.prune(store, None, 500.0, dry_run=False).records == 1
    assert store.find(used.key)
    assert store.find(unused.key) is None


def test_what_a_live_session_relies_on_stays(store: Store, tmp_path: Path) -> None:
    record, other = record_of(store, "mine", b"mine"), record_of(store, "other", b"other")
    store.close_session()
    builder = Store(tmp_path / "cache")
    builder.open_session()
    assert builder.find(record.key)
    assert gc.prune(store, 0, None, dry_run=False).records == 1
    assert store.find(record.key)
    assert store.find(other.key) is None
    builder.close_session()
    assert gc.prune(store, 0, None, dry_run=False).records == 1


def test_a_recorded_result_that_a_lock_file_pins_stays(store: Store, tmp_path: Path) -> None:
    record = record_of(store, "engine", b"plan", "recorded")
    lock = tmp_path / "model.lock"
    lock.write_text("")
    keep_root(store, "spec", lock, [record.key])
    store.close_session()
    assert gc.prune(store, 0, None, dry_run=False).records == 0
    assert store.find(record.key)
    lock.unlink()
    assert gc.prune(store, 0, None, dry_run=False).records == 1


def test_verification_finds_all_that_is_damaged_and_nothing_else(store: Store) -> None:
    records = [record_of(store, str(index), b"%d" % index) for index in range(200)]
    for record in records[:5]:
        damage(store, record.outputs[0].sha256)
    store.record_path(records[5].key).write_bytes(b"{}")
    (store.root / "cas" / "sha256" / "ab").mkdir(exist_ok=True)
    (store.root / "cas" / "sha256" / "ab" / "junk").write_text("not ours")
    found = gc.verify(store, repair=True)
    assert (found.objects, found.records) == (200, 200)
    assert len(found.defects) == 5 + 5 + 1  # each damaged object takes its record along
    assert gc.verify(store, repair=False) == gc.Verified(195, 194, ())


def test_a_record_that_points_outside_is_a_miss(store: Store) -> None:
    record = record_of(store, "a", b"model")
    for path in ("../escape", "model/../../escape", "/etc/passwd", "model//x", "file"):
        planted = replace(record, outputs=(Output(path, record.outputs[0].sha256, 5),))
        assert Record.from_bytes(planted.to_bytes(), record.key) is None
    planted = replace(record, outputs=(Output("model/x", "../../../etc/passwd", 5),))
    assert Record.from_bytes(planted.to_bytes(), record.key) is None


def test_a_store_above_another_reads_it_and_leaves_it_alone(store: Store, tmp_path: Path) -> None:
    record = record_of(store, "below", b"below")
    before = sorted(store.root.rglob("*"))
    above = Store(tmp_path / "above", below=store)
    above.open_session()
    assert above.find(record.key) == record
    above.take(record.outputs[0].sha256, tmp_path / "copy")
    mine = record_of(above, "above", b"above")
    assert above.find(mine.key)
    assert store.find(mine.key) is None
    assert sorted(store.root.rglob("*")) == before


def test_a_cache_that_others_can_write_to_is_refused(store: Store) -> None:
    record_of(store, "a", b"model")
    store.close_session()
    store.root.chmod(0o777)
    with pytest.raises(ModelspecError, match="MS620"):
        store.open_session()


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
