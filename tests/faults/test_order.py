"""What a power loss may keep: nothing gets its final name before all it stands for is on the disk."""

import json
import os
from pathlib import Path

import pytest

from tests.faults.calls import Calls, install
from tests.faults.workbench import Bench, World, use_bench


@pytest.fixture
def traced(tmp_path: Path) -> tuple[World, list[tuple[str, ...]]]:
    """A first build and one over it, in a process of its own, and the calls of both in order."""
    world, told = World(tmp_path / "world"), tmp_path / "calls.json"
    world.make()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            use_bench()
            Bench.calls = calls = Calls()
            install(calls)
            world.build()
            world.choose(2)
            world.build()
            told.write_text(json.dumps(calls.done))
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return world, [tuple(call) for call in json.loads(told.read_text())]


def synced(calls: list[tuple[str, ...]], path: Path, since: int, until: int) -> bool:
    """Whether a path was synced between two calls."""
    return any(call == ("synced", str(path)) for call in calls[since:until])


def renames(calls: list[tuple[str, ...]], below: Path) -> list[tuple[int, Path, Path]]:
    found = [(i, Path(c[1]), Path(c[2])) for i, c in enumerate(calls) if c[0] in {"rename", "replace", "renameat2"}]
    return [(i, source, target) for i, source, target in found if target.is_relative_to(below)]


def test_bytes_are_synced_before_their_record_and_the_record_before_it_counts(
    traced: tuple[World, list[tuple[str, ...]]],
) -> None:
    world, calls = traced
    root = world.store.root
    objects = renames(calls, root / "cas")
    records = renames(calls, root / "ac")
    assert len(records) >= 10
    for at, source, _ in (*objects, *records):
        assert synced(calls, source, 0, at), f"{source} was renamed before it was synced"
    for at, _, target in records:
        names = [output.sha256 for record in [world.store.record(target.stem)] if record for output in record.outputs]
        for placed, _, blob in [found for found in objects if found[2].name in names and found[0] < at]:
            assert synced(calls, blob.parent, placed, at), f"the name of {blob.name} was not synced before its record"
        assert synced(calls, target.parent, at, len(calls))


def test_a_publication_is_synced_whole_before_it_gets_its_name(traced: tuple[World, list[tuple[str, ...]]]) -> None:
    world, calls = traced
    published = renames(calls, world.dist.parent)
    exchanged = [(i, Path(c[1])) for i, c in enumerate(calls) if c[0] == "renameat2"]
    drafts = [(at, source) for at, source, target in published if target == world.dist]
    assert len({*drafts, *exchanged}) == 2
    for at, draft in {*drafts, *exchanged}:
        files = {path.relative_to(world.dist) for path in world.dist.rglob("*")}
        missing = [name for name in files if not synced(calls, draft / name, 0, at)]
        assert not missing, f"not synced before the draft got its name: {missing}"
        assert synced(calls, draft, 0, at)
        assert synced(calls, world.dist.parent, at, len(calls))


def test_a_folder_that_is_made_is_synced_into_the_one_that_holds_it(
    traced: tuple[World, list[tuple[str, ...]]],
) -> None:
    world, calls = traced
    root = world.store.root
    parts = {root / "cas", root / "ac"}
    made = [(at, Path(call[1])) for at, call in enumerate(calls) if call[0] == "mkdir"]
    lasting = [(at, path) for at, path in made if {path, path.parent, path.parent.parent} & parts]
    assert lasting
    for at, path in lasting:
        assert synced(calls, path.parent, at, len(calls)), f"{path} is made, but its name is not synced"
