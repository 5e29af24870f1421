"""The files that a spec names, copied to another place: what a rebuild may see, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

from modelspec.errors import Diagnostic, fail
from modelspec.publication import BUILD
from modelspec.resolve import resolve
from modelspec.spec.load import Loaded
from modelspec.store.files import copy_file
from modelspec.store.stat_cache import StatCache
from modelspec.verify.record import BuildSaid

_BESIDE = ("model.lock",)
"""Files beside the spec that a build reads if they are there."""


def spec_problems(loaded: Loaded, build: BuildSaid) -> Iterator[Diagnostic]:
    """MS606 where the spec is not the one that the folder was built from."""
    spec = loaded.spec
    for key in ("name", "version"):
        if getattr(build, key) != getattr(spec, key):
            yield _problem(loaded, f"{key} is {getattr(spec, key)}, and the folder was built from {getattr(build, key)}")  # fmt: skip
            return
    if spec.sha256 != build.spec:
        changed = build.other_tools(("modelspec",))
        why = f"another modelspec reads it, too: {changed[0]}" if changed else ""
        yield _problem(loaded, f"it is not the spec of which {BUILD} has the digest", why)


def _problem(loaded: Loaded, text: str, why: str = "") -> Diagnostic:
    return Diagnostic("MS606", f"the folder was not built from this spec: {text}", file=str(loaded.file), why=why,
                      help="name the spec with --file, or check out the commit that was built")  # fmt: skip


def copy_project(loaded: Loaded, target: Path, stats: StatCache) -> Path:
    """Copy what the spec names to the folder `target`; returns the copy of the spec. Raises MS601 for what changes meanwhile."""
    resolved = resolve(loaded, stats)
    for file in (*(file for files in resolved.files.values() for file in files), *resolved.code):
        if copy_file(file.origin, target / file.origin.relative_to(loaded.root)) != file.sha256:
            raise fail("MS601", f"{file.name} changed while it was being copied", help="try again when nothing writes to it")  # fmt: skip
    for name in (loaded.file.name, *_BESIDE):
        if (loaded.root / name).is_file():
            copy_file(loaded.root / name, target / name)
    return target / loaded.file.name
