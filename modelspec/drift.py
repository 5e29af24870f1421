"""Whether model.lock still says what the project holds: needs no heavy package, takes no lock, writes no cache."""

import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from modelspec import lock, plan, toolchain
from modelspec.errors import Diagnostic, ModelspecError
from modelspec.lock import Lock
from modelspec.resolve import look_up, resolve
from modelspec.spec.load import load
from modelspec.store.stat_cache import StatCache

_SPEC = re.compile(r"(model|modelspec|.+\.modelspec)\.ya?ml")
"""The names under which the hooks look for specs."""


def specs_of(files: Iterable[Path]) -> list[Path]:
    """The specs that files belong to: themselves, those beside a lock, and for other files those around them that
    have a lock. What belongs to none is left out.
    """
    found: dict[Path, None] = {}
    for file in files:
        found |= dict.fromkeys(_specs_of(Path(os.path.abspath(file))))  # noqa: PTH100 - resolving would follow links
    return list(found)


def _specs_of(file: Path) -> Iterable[Path]:
    if _SPEC.fullmatch(file.name):
        return (file,)
    if file.suffix == lock.path_of(file).suffix and (beside := [s for s in _specs_in(file.parent) if _locks(s, file)]):
        return beside
    return _around(file.parent)


def _locks(spec: Path, file: Path) -> bool:
    return lock.path_of(spec) == file


@cache
def _around(folder: Path) -> tuple[Path, ...]:
    """The locked specs of the nearest folder that has specs, up to the repository's root."""
    if found := _specs_in(folder):
        return tuple(spec for spec in found if lock.path_of(spec).is_file())
    if (folder / ".git").exists() or folder == folder.parent:
        return ()
    return _around(folder.parent)


@cache
def _specs_in(folder: Path) -> tuple[Path, ...]:
    names = folder.iterdir() if folder.is_dir() else ()
    return tuple(sorted(path for path in names if _SPEC.fullmatch(path.name) and path.is_file()))


def check(spec: Path) -> Iterator[Diagnostic]:
    """What of a spec's inputs and options is not what its lock says.

    The tools that are installed here are of no account, but for modelspec itself: they need not be those of a build.
    """
    try:
        loaded = load(spec)
        locked = lock.require(spec)
        with toolchain.assuming({name: number for name, number in locked.lock.tools.items() if name != "modelspec"}):
            resolved = look_up(resolve(loaded, StatCache(None)), locked.lock.found, online=False)
            current = lock.now(resolved, plan.make(resolved))
            found = lock.moved(locked, resolved, _without_tools(current))
        yield from found
    except ModelspecError as error:
        yield from error.diagnostics


def _without_tools(current: Lock) -> Lock:
    tools = {name: version if name == "modelspec" else toolchain.ABSENT for name, version in current.tools.items()}
    return current.model_copy(update={"tools": tools})
