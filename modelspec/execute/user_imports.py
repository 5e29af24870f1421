"""Notes what user code imports, so that a distribution whose version is not keyed fails the action."""

import builtins
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from modelspec import toolchain
from modelspec.errors import fail

_NAME_END = re.compile(r"[^A-Za-z0-9._-]")


@contextmanager
def watched(code: Path, declared: frozenset[str]) -> Iterator[None]:
    """Put the user's code on the path; afterwards refuse imports it made of distributions that are not `declared`."""
    if not code.is_dir():
        yield
        return
    sys.path.insert(0, str(code))
    sys.dont_write_bytecode = True
    imported: dict[str, str] = {}
    original = builtins.__import__

    def noting(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Any = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> ModuleType:
        importer = (globals or {}).get("__file__") or ""
        if level == 0 and str(importer).startswith(str(code)):
            imported.setdefault(name.partition(".")[0], Path(importer).relative_to(code).as_posix())
        return original(name, globals, locals, fromlist, level)

    builtins.__import__ = noting
    try:
        yield
    finally:
        builtins.__import__ = original
    _check(imported, code, declared)


def _check(imported: Mapping[str, str], code: Path, declared: frozenset[str]) -> None:
    outside = {name: file for name, file in imported.items() if _is_third_party(name, code)}
    if not outside:
        return
    from importlib.metadata import packages_distributions

    known = {toolchain.normalized(name) for name in declared} | _dependencies(declared)
    owners = packages_distributions()
    for module, file in sorted(outside.items()):
        distributions = {toolchain.normalized(name) for name in owners.get(module, ())}
        if distributions and not distributions & known:
            name = min(distributions)
            raise fail(
                "MS518",
                f"{file} imports {module!r}, which the spec does not declare",
                why="its version could change the result without changing the key",
                help=f"add to source: requires: [{name}]",
            )
        if not distributions and _is_loose(module):
            raise fail(
                "MS518",
                f"{file} imports {module!r} from PYTHONPATH, where no distribution owns it",
                why="its content could change the result without changing the key",
                help="move it into the folder of the project, and name it in source: code",
            )


def _is_third_party(name: str, code: Path) -> bool:
    if name in sys.stdlib_module_names or name == "modelspec":
        return False
    return not ((code / f"{name}.py").exists() or (code / name).is_dir())


def _is_loose(name: str) -> bool:
    """Whether the module comes from PYTHONPATH: what an editable installation adds to the path is not meant."""
    place = getattr(sys.modules.get(name), "__file__", None)
    folders = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return place is not None and any(Path(place).is_relative_to(folder) for folder in folders)


def _dependencies(declared: frozenset[str]) -> set[str]:
    """What the declared distributions require themselves: numpy comes with torch and needs no line of its own."""
    from importlib.metadata import PackageNotFoundError, requires

    found: set[str] = set()
    for name in declared - {"python"}:
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue
        found |= {
            toolchain.normalized(_NAME_END.split(line, maxsplit=1)[0]) for line in lines if "extra ==" not in line
        }
    return found
