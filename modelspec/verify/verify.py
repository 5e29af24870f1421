"""The order of the checks. All of them run, as far as what they look at can be read; their problems come together."""

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from modelspec.errors import Diagnostic, ModelspecError, fail
from modelspec.execute.alone import workers
from modelspec.gates import GateResult
from modelspec.publication import BUILD, CHECKSUMS
from modelspec.spec.load import Loaded, load
from modelspec.store.files import os_errors_explained
from modelspec.verify import figures, images
from modelspec.verify.files import against_record, check
from modelspec.verify.golden import Replayed, replay
from modelspec.verify.project import spec_problems
from modelspec.verify.published import Published
from modelspec.verify.rebuild import Rebuilt, rebuild
from modelspec.verify.record import BuildSaid, read_build, read_target

OnStep = Callable[[str], None]
"""Told what begins."""


@dataclass(frozen=True)
class Asked:
    """What the command line asks for. With a spec, the folder is rebuilt from it."""

    folder: Path
    spec: Path | None = None
    timeout_s: float = 3600.0


@dataclass
class Verification:
    """What was verified, and everything that is wrong."""

    folder: Path
    build: BuildSaid | None = None
    files: int = 0
    targets: list[Replayed] = field(default_factory=list)
    gates: list[GateResult] = field(default_factory=list)
    others: tuple[str, ...] = ()
    """Tools and facts of the machine that are others than those of the build."""
    unrun: dict[str, str] = field(default_factory=dict)
    """Targets that cannot be run here, with the reason."""
    rebuilt: Rebuilt | None = None
    problems: list[Diagnostic] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, problems: Iterable[Diagnostic]) -> None:
        """Keep problems."""
        self.problems += problems

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Keep the problems of what cannot go on, and go on with the next."""
        try:
            yield
        except ModelspecError as error:
            self.add(error.diagnostics)
            self.notes += error.notes

    @property
    def error(self) -> ModelspecError | None:
        """All problems as one error."""
        return ModelspecError(tuple(self.problems), tuple(self.notes)) if self.problems else None


def verify(asked: Asked, on_step: OnStep) -> Verification:
    """Verify a published folder. Raises only where nothing can be verified at all; else the result has the problems."""
    folder = asked.folder
    if sys.platform != "linux":
        raise fail("MS404", f"verification runs on Linux, not on {sys.platform}", help="verify in a Linux container")
    if not any((folder / name).exists() for name in (BUILD, CHECKSUMS)):
        raise fail("MS325", f"{folder} holds no {BUILD}", help="give the folder dist/<name>/<version> of a build")
    loaded = load(asked.spec) if asked.spec is not None else None
    found = Verification(folder)
    with os_errors_explained("verifying"), tempfile.TemporaryDirectory(prefix="modelspec-verify-") as temporary:
        on_step("hashing the files")
        files = check(folder)
        found.files = len(files.digests)
        found.build = build = _build(found)
        found.add(spec_problems(loaded, build) if loaded and build else ())
        found.add(files.problems)
        if build is not None:
            metrics, problems = figures.read(folder, build, files)
            found.add(problems)
            published = Published(folder, files, build, metrics)
            _contents(found, published, loaded, Path(temporary), asked.timeout_s, on_step)
    return found


def _build(found: Verification) -> BuildSaid | None:
    """build.json, if it is a plain file and can be read."""
    path = found.folder / BUILD
    if path.is_symlink() or not path.is_file():
        return None
    try:
        return read_build(found.folder)
    except ModelspecError as error:
        found.add(error.diagnostics)
        return None


def _contents(
    found: Verification, published: Published, loaded: Loaded | None, temporary: Path, timeout_s: float, on_step: OnStep
) -> None:
    """What needs the record: figures, gates, golden outputs, the rebuild."""
    found.others = published.others
    found.add(against_record(published.folder, published.files, published.build))
    found.add(figures.check_metrics(published))
    found.add(images.check(published.folder, published.files, published.build))
    found.gates, problems = figures.check_gates(published)
    found.add(problems)
    with workers(temporary / "workers", timeout_s) as running:
        for label in published.build.metrics:
            paths = published.files.of_target(label)
            if f"{label}/runtime.json" in paths and published.files.sound(paths):
                on_step(f"running {label} on its golden inputs")
                with found.collecting():
                    if reason := read_target(published.folder, label).cannot_run(published.folder / label):
                        found.unrun[label] = reason
                        continue
                    replayed, problems = replay(published, label, running)
                    found.targets.append(replayed)
                    found.add(problems)
        if loaded is not None and not any(problem.code == "MS606" for problem in found.problems):
            on_step("building again in a varied environment")
            with found.collecting():
                found.rebuilt, problems = rebuild(loaded, published, running, temporary)
                found.add(problems)
