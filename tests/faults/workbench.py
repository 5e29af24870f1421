"""A whole build in one light process: everything of modelspec but the workers, whose work is made up from their inputs.

What is under test here is the parent: how it prepares, commits, judges and publishes while calls fail, disks fill and
processes die, thousands of times. The same faults against whole builds with real workers are in the other files.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelspec import digest
from modelspec.build import Asked, Outcome, build
from modelspec.execute import execute
from modelspec.execute.events import Event, Finished
from modelspec.execute.execute import Settings
from modelspec.execute.job_file import write_result
from modelspec.execute.pool import Done, Pool
from modelspec.store import stat_cache
from modelspec.store.record import Record
from modelspec.store.store import Store
from tests.faults.calls import Calls

SPEC = """\
apiVersion: modelspec/v1
name: tiny
version: "1.0.0"
source: {framework: onnx, artifact: model.onnx}
data:
  test: {path: test.npz, labels: y}
evaluate:
  task: classification
  data: test
  metrics: [accuracy]
  gates: [{metric: accuracy, min: 0.5}]
targets: [{device: cpu}]
"""
METRICS = {"metrics": {"accuracy": 0.9}, "source": {"accuracy": 0.9}}


def made_up(seed: str, size: int) -> bytes:
    """Bytes that follow from `seed`."""
    return bytes.fromhex(digest.of_bytes(seed.encode())) * (size // 32)


class Bench(Pool):
    """Does a worker's work at once: each output follows from the stage, its options and its inputs."""

    size: int = 4096
    calls: Calls = Calls()
    ran: Path | None = None
    """A file that gets a line for each action that runs."""

    def run(
        self,
        id_: str,
        scratch: Path,
        modules: tuple[str, ...],
        memory: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        with self.calls.resting():
            _work(scratch, self.size)
            if self.ran:
                descriptor = os.open(self.ran, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.write(descriptor, f"{id_}\n".encode())
                os.close(descriptor)
        self._done = [*getattr(self, "_done", []), Done(id_, 0, 0)]

    def done(self, timeout_s: float) -> list[Done]:
        found, self._done = self._done, []
        return found

    def close(self) -> None:
        """Nothing to end."""


def _work(scratch: Path, size: int) -> None:
    job = json.loads((scratch / "job.json").read_text())
    inputs = {path: digest.of_file(scratch / "in" / path) for path in digest.files_under(scratch / "in")}
    seed = digest.of_json([job["stage"], job["options"], inputs])
    for slot in _gives(job["stage"]):
        folder = scratch / "out" / slot
        folder.mkdir()
        if slot == "metrics":
            (folder / f"{job['stage']}.json").write_text(json.dumps(METRICS))
        else:
            (folder / f"{slot}.bin").write_bytes(made_up(seed + slot, size))
    (scratch / "log.txt").write_text(f"{job['stage']}\n")
    write_result(scratch, [], 0.0, "")


def _gives(stage: str) -> tuple[str, ...]:
    from modelspec import registry

    return registry.stages()[stage].gives


def use_bench() -> None:
    """From here on, builds in this process do their work themselves."""
    setattr(execute, "Pool", Bench)  # noqa: B010 - a type is replaced
    setattr(stat_cache, "_RACY_NS", 0)  # noqa: B010 - so that what the stat cache saves is tried as well


@dataclass(frozen=True)
class World:
    """A project, a cache and a folder for temporary files, below one folder."""

    root: Path

    @property
    def project(self) -> Path:
        return self.root / "project"

    @property
    def spec(self) -> Path:
        return self.project / "model.yaml"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def store(self) -> Store:
        """The cache, as a process that has just started sees it."""
        return Store(self.cache)

    @property
    def dist(self) -> Path:
        return self.project / "dist" / "tiny" / "1.0.0"

    def make(self, spec: str = SPEC) -> None:
        """The project, of the first model."""
        self.project.mkdir(parents=True)
        self.spec.write_text(spec)
        (self.project / "test.npz").write_bytes(made_up("test", 2048))
        self.choose(1)

    def choose(self, model: int) -> None:
        """Let the project have another model."""
        (self.project / "model.onnx").write_bytes(made_up(f"model {model}", 4096))

    def build(self, finished: int | None = None, **asked: Any) -> Outcome:
        """Build here; the keys that are committed are written to the descriptor `finished`."""
        store = self.store

        def on_event(event: Event) -> None:
            if finished is not None and isinstance(event, Finished) and store.record_path(event.record.key).exists():
                os.write(finished, f"{event.record.key}\n".encode())

        asked.setdefault("output", self.project / "dist")
        return build(Asked(self.spec, self.cache, settings=Settings(), **asked), lambda _: None, on_event)

    def records(self) -> dict[str, Record | None]:
        """Every record in the cache by its key; None for one that is not whole."""
        paths = sorted((self.store.root / "ac").glob("*/*"))
        return {path.stem: Record.from_bytes(path.read_bytes(), path.stem) for path in paths}

    def published(self, folder: Path | None = None) -> dict[str, bytes] | None:
        """The reproducible files under dist/, or None; a folder that is not whole is an error."""
        dist = folder or self.dist
        if not dist.exists():
            return None
        lines = (dist / "checksums.txt").read_text().splitlines()
        listed = {path: sha256 for sha256, path in (line.split("  ", 1) for line in lines)}
        assert all(digest.of_file(dist / path) == sha256 for path, sha256 in listed.items()), "dist/ is not whole"
        assert {*digest.files_under(dist)} == {*listed, "checksums.txt", "build.json"}
        build_record = json.loads((dist / "build.json").read_bytes())
        assert build_record["checksums"] == digest.of_file(dist / "checksums.txt")
        return {path: (dist / path).read_bytes() for path in listed}

    def debris(self) -> list[str]:
        """What no finished build leaves behind."""
        found = [*(self.cache / "v1" / "tmp").glob("*"), *self.project.rglob(".*"), *self.root.glob("temporary/*")]
        found += [path for path in (self.cache / "v1").glob("*/*/.*") if path.name != ".stat.json.draft"]
        return sorted(str(path.relative_to(self.root)) for path in found)


def restore(template: Path, world: World) -> None:
    """Put the world into the state that `template` was left in."""
    shutil.rmtree(world.root, ignore_errors=True)
    shutil.copytree(template, world.root, symlinks=True)
    (world.root / "temporary").mkdir(exist_ok=True)
