"""Strikes at every call of a few stories, one process a point, and looks at what is left: `python -m tests.faults.points`.

The state of a store after a kill does not depend on the disk, so this runs in memory where it can.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from modelspec import platform_linux
from modelspec.errors import Exit, ModelspecError
from modelspec.store import gc
from modelspec.store.files import is_of_the_machine
from modelspec.store.roots import keep_root
from tests.faults.calls import Calls, install, quiet
from tests.faults.workbench import Bench, World, restore, use_bench

BUG = 99


@dataclass(frozen=True)
class Story:
    """A state of the world, and what is struck in it."""

    name: str
    prepare: Callable[[World], None]
    act: Callable[[World, int], object]
    keeps: bool = True
    """Whether all that was in the cache before is there afterwards."""
    aside: bool = False
    """Whether a kill may leave the old dist/ aside, from where the next build takes it back."""


def _project(world: World) -> None:
    world.make()


def _published_before(world: World) -> None:
    world.make()
    world.build()
    world.choose(2)


def _damaged(world: World) -> None:
    """A published build, unpublished again; one object has rotted, the place of another is taken by a folder."""
    world.make()
    world.build()
    shutil.rmtree(world.project / "dist")
    records = {record.preimage["stage"]: record for record in world.records().values() if record}
    rotten = world.store.blob(records["compile"].slot("artifact")["artifact.bin"])
    rotten.chmod(0o644)
    rotten.write_bytes(rotten.read_bytes()[:-1] + b"?")
    taken = world.store.blob(records["golden"].slot("golden")["golden.bin"])
    taken.unlink()
    (taken / "inside").mkdir(parents=True)


def _littered(world: World) -> None:
    """A build that died in the middle of an action, and results of two models."""
    _published_before(world)
    world.build()
    child = os.fork()
    if child == 0:
        (world.store.open_session() / "half" / "in").mkdir(parents=True)
        os._exit(0)
    os.waitpid(child, 0)


def _shrink(world: World, _: int) -> None:
    store = world.store
    keys = [entry.key for entry in gc.entries(store)]
    keep_root(store, "spec", world.spec, keys[:1])
    store.close_session()
    gc.verify(store, repair=True)
    gc.prune(store, 20_000, None, dry_run=False)


def _build(world: World, finished: int) -> object:
    return world.build(finished)


def _build_without_exchange(world: World, finished: int) -> object:
    setattr(platform_linux, "exchange", lambda _first, _second: False)  # noqa: B010
    return world.build(finished)


def _build_again(world: World, finished: int) -> object:
    return world.build(finished, fresh=("evaluate", "golden"))


STORIES = (
    Story("first build", _project, _build),
    Story("build over another", _published_before, _build),
    Story("build over another, without exchange", _published_before, _build_without_exchange, aside=True),
    Story("build from a damaged cache", _damaged, _build, keeps=False),
    Story("build after a crash", _littered, _build_again),
    Story("verify and prune", _littered, _shrink, keeps=False),
)


@dataclass
class Tally:
    """What was tried and what came of it."""

    points: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


class Trial:
    """One story with its template, and the right results to compare with."""

    def __init__(self, story: Story, folder: Path) -> None:
        self.story = story
        self.world = World(folder / "world")
        self.template = folder / "template"
        self.before: dict[str, bytes] | None = None
        self._in_child(self._make)
        self.before = self.world.published()
        self.world.root.rename(self.template)
        restore(self.template, self.world)
        with Path(os.devnull).open("wb") as null:
            self._in_child(lambda: story.act(self.world, null.fileno()))
        self._in_child(self.world.build)
        self.after = self.world.published()
        assert self.after

    def _make(self) -> None:
        self.world.root.mkdir(parents=True)
        (self.world.root / "temporary").mkdir()
        self.story.prepare(self.world)

    @staticmethod
    def _in_child(work: Callable[[], object]) -> None:
        """Each in a process of its own: what one remembers, or changes in itself, the next does not have."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - a child says what went wrong, and ends here
                os.write(writer, "".join(traceback.format_exception(error)[-3:]).encode()[:4000])
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as said:
            trace = said.read()
        os.waitpid(child, 0)
        assert not trace, trace

    def length(self, calls: Calls) -> int:
        """How many calls there are to strike at."""
        restore(self.template, self.world)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            self._struck(calls, writer, writer)
            os.write(writer, str(calls.count).encode())
            os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        with os.fdopen(reader) as said:
            return int(said.read().splitlines()[-1])

    def _struck(self, calls: Calls, finished: int, said: int) -> int:
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.world.root / "temporary")
        quiet()
        calls.said = said
        Bench.calls = calls
        install(calls)
        try:
            self.story.act(self.world, finished)
        except ModelspecError as error:
            os.write(said, f" {error}".encode())
            return int(error.exit)
        except OSError as error:
            if is_of_the_machine(error):
                return int(Exit.ENVIRONMENT)  # as the command line does
            os.write(said, "".join(traceback.format_exception(error)[-4:]).encode())
            return BUG
        except BaseException as error:  # noqa: BLE001 - whatever is not a diagnostic is a bug, and is shown
            calls.paused = True
            os.write(said, "".join(traceback.format_exception(error)[-4:]).encode())
            return BUG
        return 0

    def strike(self, calls: Calls, tally: Tally) -> None:
        """Try one point and look at what it left."""
        restore(self.template, self.world)
        kept = set(self.world.records()) if self.story.keeps else set()
        finished, commits = os.pipe()
        said, saying = os.pipe()
        child = os.fork()
        if child == 0:
            os._exit(self._struck(calls, commits, saying))
        os.close(commits)
        os.close(saying)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with os.fdopen(finished) as lines, os.fdopen(said) as name:
            kept |= set(lines.read().split())
            call = name.read()
        tally.points += 1
        tally.calls[call.split(" ")[0]] += 1
        tally.ends[str(status)] += 1
        try:
            self._judge(calls, status, kept, call)
        except (AssertionError, ModelspecError, OSError) as error:
            fault = os.strerror(calls.errno) if calls.errno else "kill"
            where = f"{self.story.name}, call {calls.at}: {fault} in {call}: ended with {status}"
            tally.violations.append(f"{where}\n{''.join(traceback.format_exception(error)[-3:])}")

    def _judge(self, calls: Calls, status: int, kept: set[str], call: str) -> None:
        if calls.errno is None:
            assert status == -signal.SIGKILL
        else:
            assert status in {Exit.OK, Exit.ENVIRONMENT, Exit.SPEC if "MS109" in call else Exit.OK}
        found = self.world.records()
        assert None not in found.values(), "a torn record has its final name"
        assert kept <= set(found), "a finished result is lost"
        if self.story.keeps:
            assert not gc.verify(self.world.store, repair=False).defects
        assert self._published(status) in (self.before, self.after), "dist/ is neither the old nor the new one"
        self._in_child(lambda: self._finish(set(found)))
        assert self.world.published() == self.after
        assert not self.world.debris(), self.world.debris()

    def _published(self, status: int) -> dict[str, bytes] | None:
        """What lies under dist/; between the two renames of a build that was killed, the old one lies aside."""
        aside = list(self.world.dist.parent.glob(f".{self.world.dist.name}.*.aside"))
        if self.story.aside and status == -signal.SIGKILL and aside and not self.world.dist.exists():
            return self.world.published(aside[0])
        return self.world.published()

    def _finish(self, known: set[str]) -> None:
        """The same again, with nothing cleaned by hand; what was finished is not done again."""
        before = set(self.world.records())
        outcome = self.world.build()
        assert outcome.folder
        assert not [w.code for w in outcome.warnings], outcome.warnings
        assert outcome.ran >= len(set(self.world.records()) - before)
        if self.story.keeps:
            assert outcome.ran == len(set(self.world.records()) - known)
        assert not gc.verify(self.world.store, repair=False).defects
        gc.prune(self.world.store, None, None, dry_run=False)  # a build that had nothing to run swept nothing


def run(kinds: list[Calls], every: int, stories: tuple[Story, ...] = STORIES) -> Tally:
    """Strike at every `every`-th call of each story, in each way."""
    tally = Tally()
    fast = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=fast if os.access(fast, os.W_OK) else None) as folder:
        for number, story in enumerate(stories):
            trial = Trial(story, Path(folder, str(number)))
            for kind in kinds:
                length = trial.length(Calls(errno=kind.errno, torn=kind.torn, reads=kind.reads))
                for at in range(1 + number % every, length + 1, every):
                    trial.strike(Calls(at, kind.errno, kind.torn, kind.reads), tally)
    return tally


def main() -> int:
    """Run as asked, print the tally as JSON; 1 where something was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--errno", type=int, nargs="*")
    asked = parser.parse_args()
    kinds = [Calls(), Calls(torn=True)] if asked.errno is None else [Calls(errno=e, reads=True) for e in asked.errno]
    use_bench()
    tally = run(kinds, asked.every)
    print(json.dumps(tally.__dict__, indent=1))
    return bool(tally.violations)


if __name__ == "__main__":
    sys.exit(main())
