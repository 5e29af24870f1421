"""model.yaml -> a validated spec with positions. Reads the file once, and reports every problem at once."""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modelspec.errors import Diagnostic, ModelspecError, Span, fail
from modelspec.options import Options
from modelspec.spec import files, rules, yaml
from modelspec.spec.model import API_VERSION, ModelSpec, model
from modelspec.spec.positions import Place, Positions
from modelspec.spec.text import MAX_BYTES

FILE_NAME = "model.yaml"


@dataclass(frozen=True)
class Loaded:
    """A valid spec, and where each part of it is written."""

    spec: ModelSpec
    file: Path
    """The file, as it was given."""
    root: Path
    """The absolute folder of the spec; every path in it is relative to this."""
    positions: Positions
    lines: tuple[str, ...]
    """The lines of the file, for excerpts."""
    warnings: tuple[Diagnostic, ...] = ()


@dataclass
class SpecError(ModelspecError):
    """What is wrong with a spec, with the lines of the file for excerpts."""

    lines: tuple[str, ...] = ()


def find(start: Path) -> Path:
    """The model.yaml of `start`, or of the folders around it up to the repository's root. Raises MS322."""
    folder = start.resolve()
    for place in (folder, *folder.parents):
        if (place / FILE_NAME).is_file():
            found = place / FILE_NAME
            return start / FILE_NAME if place == folder else found
        if (place / ".git").exists():
            break
    raise fail(
        "MS322", f"no {FILE_NAME} in {str(folder)!r} or the folders around it",
        help="write one with modelspec init, or name the file with --file",
    )  # fmt: skip


def load(path: Path, *, text: bytes | None = None) -> Loaded:
    """Read and check a spec. Raises a ModelspecError with all problems, each with its file and span."""
    try:
        raw = read(path) if text is None else text
    except ModelspecError as error:
        raise SpecError(tuple(d.at(file=str(path)) for d in error.diagnostics)) from None
    document = yaml.parse(raw)
    root = Path(os.path.abspath(path)).parent  # noqa: PTH100 - resolving would follow a link to the file
    spec, found = _checked(document, root)
    found = sorted(found, key=_order)
    placed = tuple(problem.at(file=str(path)) for problem in found[: yaml.MAX_PROBLEMS])
    errors = [problem for problem in placed if problem.severity == "error"]
    if errors or spec is None:
        more = (f"there may be more; these are the first {len(placed)} problems",)
        raise SpecError(placed, more if len(placed) == yaml.MAX_PROBLEMS else (), lines=document.lines)
    return Loaded(spec, path, root, document.positions, document.lines, placed)


def _order(problem: Diagnostic) -> tuple[int, int, str, str]:
    span = problem.span or Span(0, 0, 0, 0)
    return (span.line, span.column, problem.code, problem.message)


def read(path: Path) -> bytes:
    """The bytes of a regular file; never waits for a pipe. Raises MS109."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise fail("MS109", f"{str(path)!r} is {kind}", help=f"name the file itself, for example {FILE_NAME}")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise fail(
            "MS109", f"{str(path)!r} cannot be read: {reason}", help="check the path and its permissions"
        ) from error
    except ValueError as error:
        raise fail("MS109", f"{str(path)!r} is not a path", help="check the path") from error


def _checked(document: yaml.Document, root: Path) -> tuple[ModelSpec | None, list[Diagnostic]]:
    """The spec, if it is valid, and everything that is wrong with it."""
    found = list(document.problems)
    if not document.complete:
        return None, found
    if too_new := list(_version_problems(document)):
        return None, found + too_new
    kind = model()
    try:
        spec = kind.model_validate(document.data)
    except ValidationError as error:
        from modelspec.spec import shape  # not needed by a valid spec

        return None, found + shape.problems(error, kind, document)
    if document.broken:
        return spec, found  # the rules would judge what was not read
    checks = [*_nulls(spec, ()), *rules.check(spec, document.positions), *files.check(spec, root)]
    if spec.tune is not None:
        from modelspec.spec import tune_rules  # not needed by most specs

        checks += tune_rules.check(spec, document)
    return spec, found + [_placed(problem, document.positions) for problem in checks]


def _version_problems(document: yaml.Document) -> Iterable[Diagnostic]:
    """Ask first whether this version reads the file at all: otherwise everything new in it would be called unknown."""
    requires = document.data.get("requires")
    wanted = requires.get("modelspec") if isinstance(requires, dict) else None
    if isinstance(wanted, str) and len(wanted) <= 200 and ("requires", "modelspec") not in document.broken:
        from packaging.specifiers import InvalidSpecifier, SpecifierSet

        from modelspec import toolchain

        own, place = toolchain.own_version(), ("requires", "modelspec")
        span = document.positions.value(place)
        try:
            if not SpecifierSet(wanted).contains(own, prereleases=True):
                yield Diagnostic("MS318", f"the spec requires modelspec {wanted}, and this is {own}", help=f"pip install 'modelspec-build{wanted}'",
                                 span=span, path=place)  # fmt: skip
        except InvalidSpecifier:
            yield Diagnostic(
                "MS206",
                f"{wanted!r} does not say which versions",
                help='for example: ">=0.1,<2"',
                span=span,
                path=place,
            )
    version = document.data.get("apiVersion")
    if isinstance(version, str) and version != API_VERSION and ("apiVersion",) not in document.broken:
        yield Diagnostic("MS207", f"apiVersion {version!r} is not known to this modelspec", help=f"write apiVersion: {API_VERSION}, or install the modelspec that reads it",
                         label=f"expected {API_VERSION}", span=document.positions.value(("apiVersion",)), path=("apiVersion",))  # fmt: skip


def _placed(problem: Diagnostic, positions: Positions) -> Diagnostic:
    """Give a problem the position of its path: of the key, where the key is what is wrong."""
    if problem.span is not None:
        return problem
    on_key = problem.code in {"MS301", "MS302", "MS306", "MS319"} and problem.path in positions.keys
    on_key = on_key and (problem.code != "MS301")
    span = positions.key(problem.path) if on_key else positions.value(problem.path)
    return problem.at(span=span)


def _nulls(value: Any, place: Place) -> Iterable[Diagnostic]:
    """Keys that are written without a value: they would say nothing."""
    if isinstance(value, Options):
        for name in value.model_fields_set:
            item, key = getattr(value, name), type(value).model_fields[name].alias or name
            if item is None:
                yield Diagnostic(
                    "MS204", f"'{key}' has no value", help="write a value, or remove the key", path=(*place, key)
                )
            yield from _nulls(item, (*place, key))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _nulls(item, (*place, key)) if isinstance(item, Options | tuple) else ()
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _nulls(item, (*place, index))
