"""Whether the files that a spec names are there, and inside its folder. Looks only at the file system's tables."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from modelspec.errors import Diagnostic
from modelspec.options import Options
from modelspec.remote import project_paths
from modelspec.spec.model import ModelSpec
from modelspec.spec.positions import Place
from modelspec.words import closest


def check(spec: ModelSpec, root: Path) -> Iterable[Diagnostic]:
    """MS317 and MS324 for what is missing, MS611 for a link that leads out of the folder, MS210 for what is no file."""
    real = os.path.realpath(root)
    for place, owner in parts(spec):
        for field in owner.paths:
            for name in project_paths(owner.named_by(field)):
                folder = field in owner.folders
                yield from _problems("MS317", name, (*place, field), root, real, folder=folder)
        for entrypoint in owner.entrypoints():
            name = entrypoint.rpartition(":")[0]
            yield from _problems("MS324", name, _written(owner, entrypoint, place), root, real)
    if "code" in spec.source.model_fields_set:
        for index, pattern in enumerate(spec.source.code):
            if not matching(root, pattern):
                fix = "check the pattern; it is relative to model.yaml" if "*" in pattern else _nearby(root / pattern)
                yield Diagnostic("MS317", f"no file matches {pattern!r}", help=fix,
                                 path=("source", "code", index))  # fmt: skip


def matching(root: Path, pattern: str) -> list[Path]:
    """The files that a pattern names; none where it is longer than the file system takes."""
    try:
        return [match for match in root.glob(pattern) if match.is_file()]
    except OSError:
        return []


def parts(spec: ModelSpec) -> Iterator[tuple[Place, Options]]:
    """Every block of the spec, with its place; blocks inside blocks too."""
    for name in type(spec).model_fields:
        yield from _inside(getattr(spec, name), (name,))


def _inside(value: Any, place: Place) -> Iterator[tuple[Place, Options]]:
    if isinstance(value, Options):
        yield place, value
        for name, field in type(value).model_fields.items():
            yield from _inside(getattr(value, name), (*place, field.alias or name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _inside(item, (*place, key))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _inside(item, (*place, index))


def _written(owner: Options, entrypoint: str, place: Place) -> Place:
    """The place of the option that names `entrypoint`."""
    for name, value in owner:
        if value == entrypoint:
            return (*place, name)
        if isinstance(value, tuple) and entrypoint in value:
            return (*place, name, value.index(entrypoint))
    return place


def _problems(
    code: str, name: str, place: Place, root: Path, real: str, *, folder: bool = False
) -> Iterator[Diagnostic]:
    target = root / name
    if not os.path.lexists(target):
        yield Diagnostic(code, f"{name!r} does not exist", help=_nearby(target), path=place)
        return
    where = os.path.realpath(target)
    if where != real and not where.startswith(real + os.sep):
        yield Diagnostic("MS611", f"{name!r} is a link to a place outside the folder of the spec",
                         help="copy the file instead of linking it", path=place)  # fmt: skip
    elif not os.path.exists(where):  # noqa: PTH110
        yield Diagnostic(code, f"{name!r} is a link to a file that does not exist", help="repair the link", path=place)
    elif not os.path.isfile(where) and not os.path.isdir(where):  # noqa: PTH113, PTH112
        yield Diagnostic("MS210", f"{name!r} is not a regular file or a folder", help="name a regular file", path=place)
    elif not folder and not os.path.isfile(where):  # noqa: PTH113
        code, kind = ("MS324", "a Python file") if code == "MS324" else ("MS210", "a file")
        yield Diagnostic(code, f"{name!r} is a folder, not {kind}", help="name the file", path=place)


def _nearby(target: Path) -> str:
    """What might have been meant, among the files that are there."""
    try:
        names = sorted(os.listdir(target.parent))[:2000]  # noqa: PTH208 - a folder may hold a million samples
    except OSError:
        return "check the path; it is relative to the folder of model.yaml"
    near = closest(target.name, names)
    return f"did you mean {near!r}?" if near else "check the path; it is relative to the folder of model.yaml"
