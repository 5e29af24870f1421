"""A cache that is damaged, full, read-only or somebody else's: the build heals it, does without it, or refuses it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelspec.build import Asked, build, prepare
from modelspec.execute.events import Event, Finished, Healing
from modelspec.store import gc
from modelspec.store.record import Record
from modelspec.store.store import Store
from tests.build.conftest import Project, write_model


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own; the test is skipped where none can be mounted."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        end = time.monotonic() + 20
        while subprocess.run(
            ["umount", str(folder)], capture_output=True
        ).returncode:  # a killed worker is still ending
            assert time.monotonic() < end, f"{folder} is still in use"
            time.sleep(0.1)


def record_of(project: Project, stage: str) -> Record:
    """The record of the first action of a stage."""
    matches = prepare(Asked(project.spec, project.cache)).matches.values()
    return next(match.record for match in matches if match.action.stage.name == stage and match.record)


def damage(project: Project, sha256: str) -> None:
    """Flip one bit of an object and keep its size."""
    blob = project.cache / "v1" / "cas" / "sha256" / sha256[:2] / sha256
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(data)


@pytest.mark.parametrize("stage", ["load", "sample", "convert", "quantize", "compile", "golden", "evaluate"])
def test_a_damaged_result_of_any_stage_is_made_again(project: Project, stage: str) -> None:
    project.build()
    before = project.tree()
    for output in record_of(project, stage).outputs:
        damage(project, output.sha256)
    said = project.build("--no-cache", "compile", "--no-cache", "evaluate", "--no-cache", "golden", "-o", "other")
    if stage in {"load", "convert"}:
        assert "its cached result was lost or damaged" in said
    other = project.folder / "other" / "tiny" / "1.0.0"
    assert (other / "checksums.txt").read_bytes() == before["checksums.txt"]
    assert project.run("cache", "verify").returncode in {0, 5}


def test_damage_found_while_publishing_heals_as_well(project: Project) -> None:
    project.build()
    before = project.tree()
    for output in record_of(project, "compile").outputs:
        damage(project, output.sha256)
    said = project.build("-o", "other")
    assert "wrote" in said
    assert (project.folder / "other/tiny/1.0.0/checksums.txt").read_bytes() == before["checksums.txt"]


def test_a_full_cache_is_done_without(project: Project, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "small", "size=96k") as small:
        done = project.run("build", "--cache-dir", str(small))
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr.count("warning[MS451]") == 1
        assert "no space left" in done.stderr
    first = project.tree()["checksums.txt"]
    project.build()
    assert project.tree()["checksums.txt"] == first


def test_a_read_only_cache_is_read_and_done_without(project: Project, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "mounted", "size=16m") as mounted:
        assert project.run("build", "--cache-dir", str(mounted)).returncode == 0
        subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
        project.edit("ranges: minmax", "ranges: entropy")
        done = project.run("build", "--cache-dir", str(mounted))
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr.count("warning[MS451]") == 1
        assert "convert  " in done.stderr
        assert "convert             run" not in done.stderr


def test_what_a_killed_build_without_a_cache_left_is_removed_by_the_next(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from modelspec.store.passing import passing_store\n"
        "from modelspec.store.store import Store\n"
        "with passing_store(Store(Path('/proc/none'))) as store:\n"
        "    (store.open_session() / 'large').write_text('x')\n"
        "    if sys.argv[1:]:\n        os.kill(os.getpid(), 9)"
    )
    (temporary := tmp_path / "temporary").mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    subprocess.run([sys.executable, "-c", script, "killed"], env=environment)
    left = next(temporary.iterdir())
    assert list(left.rglob("large"))
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert list(left.rglob("large")), "its maker may be about to lock it"
    os.utime(left, (0, 0))
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert not [path for path in temporary.rglob("*") if path.is_file()]


def test_damage_in_a_read_only_cache_is_made_good_elsewhere(project: Project, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "mounted", "size=16m") as mounted:
        assert project.run("build", "--cache-dir", str(mounted)).returncode == 0
        before = project.tree()
        at_mount = Project(project.folder, mounted)
        for stage in ("convert", "compile"):
            for output in record_of(at_mount, stage).outputs:
                damage(at_mount, output.sha256)
        subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
        done = project.run("build", "--cache-dir", str(mounted), "-o", "other")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr.count("warning[MS451]") == 1
    other = project.folder / "other" / "tiny" / "1.0.0"
    assert (other / "checksums.txt").read_bytes() == before["checksums.txt"]


def test_nothing_is_pruned_before_it_is_published(project: Project) -> None:
    """A pruning after every single step, up to the last one before publication."""
    events: list[Event] = []

    def on_event(event: Event) -> None:
        events.append(event)
        gc.prune(Store(project.cache), 0, None, dry_run=False)

    outcome = build(Asked(project.spec, project.cache, project.folder / "dist"), lambda _: None, on_event)
    assert outcome.ran == sum(isinstance(event, Finished) for event in events)
    assert not any(isinstance(event, Healing) for event in events)
    assert gc.prune(Store(project.cache), 0, None, dry_run=False).records == outcome.ran


def test_a_full_disk_is_said_and_leaves_nothing(project: Project, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "small", "size=64k") as small:
        (small / "tmp").mkdir()
        done = project.run("build", "--cache-dir", str(small), env={"TMPDIR": str(small / "tmp")})
        assert done.returncode == 4, done.stdout + done.stderr
        assert "MS403" in done.stderr
        assert not project.dist.exists()
        left = [path for path in (small / "tmp").rglob("*") if path.is_file()]
        assert all(path.suffix == ".log" for path in left)
    project.build()


def test_the_log_of_a_failure_without_the_cache_stays(project: Project, tmp_path: Path) -> None:
    (project.folder / "data.py").write_text('def load():\n    print("hello log")\n    raise ValueError("no")\n')
    project.edit("test: {path: test.npz, labels: y}", 'test: {loader: "data.py:load", labels: y}')
    (tmp_path / "temporary").mkdir()
    environment = {"TMPDIR": str(tmp_path / "temporary"), "MODELSPEC_CACHE_DIR": "/proc/no such cache"}
    said = project.build(exits=3, env=environment)
    log = Path(said.split("log of load:test: ")[1].splitlines()[0])
    assert "hello log" in log.read_text()
    assert {path.suffix for path in (tmp_path / "temporary").rglob("*") if path.is_file()} == {".log"}


def test_a_cache_that_others_can_write_to_is_refused(project: Project) -> None:
    project.build()
    (project.cache / "v1").chmod(0o777)
    assert "MS620" in project.build(exits=6)
    assert "MS620" in project.run("plan").stderr


def test_another_users_cache_is_refused(project: Project) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a folder to somebody else")
    project.build()
    os.chown(project.cache / "v1", 65534, 65534)
    assert "MS620" in project.build(exits=6)


def test_an_input_that_changes_while_it_is_built_from_fails_the_build(project: Project) -> None:
    """The data set's own loader changes the model after it was read: the results belong to no state of the project."""
    write_model(project.folder / "other.onnx", seed=3)
    script = project.folder / "data.py"
    script.write_text(
        "import numpy, shutil\ndef load():\n"
        f"    shutil.copy({str(project.folder / 'other.onnx')!r}, {str(project.folder / 'model.onnx')!r})\n"
        f"    return dict(numpy.load({str(project.folder / 'test.npz')!r}))\n"
    )
    project.edit("test: {path: test.npz, labels: y}", 'test: {loader: "data.py:load", labels: y}')
    said = project.build(exits=5)
    assert "MS601" in said
    assert not project.dist.exists()
