"""Spec -> facts: digests of the files it names, and whether its packages are there. The only reader of them."""

import dataclasses
import os
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelspec import digest, registry, toolchain
from modelspec.errors import Diagnostic, ModelspecError, fail
from modelspec.framework import Framework
from modelspec.lookup import Found, Lookup, Pin
from modelspec.options import Options
from modelspec.remote import Remote, project_paths
from modelspec.spec.files import matching, parts
from modelspec.spec.load import Loaded
from modelspec.stage import Request
from modelspec.store.stat_cache import StatCache

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class SourceFile:
    """A file of the project. `name` is its path inside the input folder; `origin` is where it was read."""

    name: str
    sha256: str
    size: int
    origin: Path


@dataclass(frozen=True)
class Resolved:
    """A spec and everything outside it that can change a build."""

    loaded: Loaded
    files: dict[Path_, tuple[SourceFile, ...]]
    """Files by the path, in the spec, of the field that names them."""
    code: tuple[SourceFile, ...]
    remote: dict[Path_, Remote]
    """Files that are elsewhere, by the path of the field that names them."""
    found: dict[str, Found] = dataclasses.field(default_factory=dict)
    """Answers to the stages' questions to the world, by the question, and what is pinned of figures."""

    @property
    def spec_id(self) -> str:
        return spec_id(self.loaded)

    def line(self, path: Path_) -> int | None:
        """The line of the option at `path`, or of the nearest block around it that is written."""
        around = (path[:length] for length in range(len(path), 0, -1))
        written = next((place for place in around if self.loaded.positions.has(place)), None)
        return self.loaded.positions.value(written).line if written else None


def spec_id(loaded: Loaded) -> str:
    """Tells one spec's last records from those of others in the same cache."""
    return digest.of_bytes(os.fsencode(loaded.root / loaded.file.name))[:32]


def resolve(loaded: Loaded, stats: StatCache) -> Resolved:
    """Hash what the spec names. Raises MS317 for what is missing, MS611 for a link that leaves the folder."""
    spec = loaded.spec
    files: dict[Path_, tuple[SourceFile, ...]] = {}
    remote: dict[Path_, Remote] = {}
    problems: list[Diagnostic] = []
    for base, part in parts(spec):
        for field in part.paths:
            if isinstance(elsewhere := part.named_by(field), Remote):
                remote[(*base, field)] = elsewhere
                continue
            try:
                files[(*base, field)] = _field_files(loaded, part, (*base, field), stats)
            except ModelspecError as error:
                problems += error.diagnostics
    code: tuple[SourceFile, ...] = ()
    try:
        code = tuple(_code_files(loaded, spec.source, stats))
    except ModelspecError as error:
        problems += error.diagnostics
    if problems:
        raise ModelspecError(tuple(_placed(problem, loaded) for problem in problems))
    stats.save()
    return Resolved(loaded, files, code, remote)


def lookups(loaded: Loaded) -> dict[str, Lookup]:
    """Every question of the spec's stages to the world, by its name."""
    asked = [lookup for r in _requests(loaded) for kind in registry.stages().values() for lookup in kind.lookups(r)]
    return {lookup.name: lookup for lookup in asked}


def pins(loaded: Loaded) -> dict[str, Pin]:
    """All that the spec's stages take of figures, by its name."""
    asked = [pin for r in _requests(loaded) for kind in registry.stages().values() for pin in kind.pins(r)]
    return {pin.name: pin for pin in asked}


def _requests(loaded: Loaded) -> list[Request]:
    return [loaded.spec.request(index) for index in range(len(loaded.spec.targets))]


def look_up(
    resolved: Resolved, pinned: Mapping[str, Found], *, online: bool, anew: Collection[str] | None = None
) -> Resolved:
    """Answer the questions: as `pinned`, else by asking the world if `online`. Those of stages in `anew` are asked again; empty for all.

    What is pinned of figures stays, whatever is asked again.
    """
    found = {name: pinned[name] for name in pins(resolved.loaded) if name in pinned}
    for name, lookup in lookups(resolved.loaded).items():
        again = online and anew is not None and (not anew or lookup.stage in anew)
        if name in pinned and not again:
            found[name] = pinned[name]
        elif lookup.impossible:  # a hook plans without the tools, by what model.lock says
            for answer in (answer for other, answer in pinned.items() if lookup.is_like(other)):
                found[name] = answer
        elif online:
            try:
                found[name] = lookup.find()
            except ModelspecError as error:
                place = lookup.place if resolved.loaded.positions.has(lookup.place) else lookup.place[:1]
                problems = (_placed(p.at(path=place), resolved.loaded) for p in error.diagnostics)
                raise ModelspecError(tuple(problems)) from error
    return dataclasses.replace(resolved, found=found)


def repin(resolved: Resolved, stages: Collection[str], figures: Mapping[str, Mapping[str, Any]]) -> Resolved:
    """With what the figures of `stages` say, given by target and stage, in place of what was pinned of them."""
    asked = [pin for pin in pins(resolved.loaded).values() if pin.stage in stages]
    said = {pin.name: pin.answer(figures.get(pin.target, {}).get(pin.stage, {})) for pin in asked}
    return dataclasses.replace(resolved, found={**resolved.found, **{name: said[name] for name in said if said[name]}})


def _placed(problem: Diagnostic, loaded: Loaded) -> Diagnostic:
    return problem.at(file=str(loaded.file), span=loaded.positions.value(problem.path))


def _field_files(loaded: Loaded, part: Options, path: Path_, stats: StatCache) -> tuple[SourceFile, ...]:
    found: list[SourceFile] = []
    for name in project_paths(part.named_by(str(path[-1]))):
        found += _tree(loaded.root, name, path, stats)
    return tuple(found)


def _tree(root: Path, name: str, path: Path_, stats: StatCache) -> list[SourceFile]:
    """The file `name`, or all files of the folder `name` under the folder's own name."""
    top = root / name
    if not top.exists():
        raise fail(
            "MS317",
            f"{name!r} does not exist",
            help="check the path; it is relative to model.yaml",
            path=path,
        )
    try:
        inside = digest.files_under(top) if top.is_dir() else [""]
    except OSError as error:
        raise _unreadable(name, error, path) from error
    if not inside:
        raise fail("MS317", f"{name!r} is an empty folder", help="put the files into it", path=path)
    return [_one(root, top / rest, f"{top.name}/{rest}".rstrip("/"), path, stats) for rest in inside]


def _one(root: Path, origin: Path, name: str, path: Path_, stats: StatCache) -> SourceFile:
    if not origin.resolve().is_relative_to(root.resolve()):
        raise fail(
            "MS611",
            f"{name!r} is a link to a place outside the folder of the spec",
            help="copy the file instead of linking it",
            path=path,
        )
    try:
        if not stat.S_ISREG(origin.stat().st_mode):
            raise fail("MS210", f"{name!r} is not a regular file", help="name a regular file", path=path)
        sha256, size = stats.of_file(origin)
    except OSError as error:
        raise _unreadable(name, error, path) from error
    return SourceFile(name, sha256, size, origin)


def _unreadable(name: str, error: OSError, path: Path_) -> ModelspecError:
    return fail("MS402", f"{name!r} cannot be read: {error.strerror}", help="check its permissions", path=path)


def _code_files(loaded: Loaded, source: Framework, stats: StatCache) -> list[SourceFile]:
    found: dict[str, Path] = {}
    for pattern in source.code:
        matches = matching(loaded.root, pattern)
        if not matches and "code" in source.model_fields_set:
            raise fail("MS317", f"no file matches {pattern!r}", help="check source.code", path=("source", "code"))
        found |= {match.relative_to(loaded.root).as_posix(): match for match in matches}
    return [_one(loaded.root, origin, name, ("source", "code"), stats) for name, origin in sorted(found.items())]


def require_unchanged(resolved: Resolved, stats: StatCache) -> None:
    """Raise MS601 where a file of the project is no longer the one that was built from."""
    named = [(path, file) for path, files in resolved.files.items() for file in files]
    problems = []
    for path, file in [*named, *((("source", "code"), file) for file in resolved.code)]:
        try:
            same = stats.of_file(file.origin)[0] == file.sha256
        except OSError:
            same = False
        if not same:
            problem = Diagnostic(
                "MS601",
                f"{file.name} changed while it was being built; nothing was published",
                help="build again when nothing writes to it",
                path=path,
            )
            problems.append(_placed(problem, resolved.loaded))
    if problems:
        raise ModelspecError(tuple(problems))


def missing_packages(needed: dict[str, tuple[str, ...]]) -> tuple[Diagnostic, ...]:
    """MS401 for what is not installed; `needed` maps the extra that brings distributions to their names."""
    problems = []
    for extra, names in sorted(needed.items()):
        if absent := toolchain.missing(names):
            fix = (
                f"pip install 'modelspec-build[{extra}]'"
                if extra in {*registry.frameworks(), "remote", "serve", "grpc", "text", "containerize", "manifests"}
                else f"pip install {' '.join(absent)}"
            )
            problems.append(Diagnostic("MS401", f"not installed: {', '.join(absent)}", help=fix))
    return tuple(problems)
