"""The folder is the registry: a file in stages/, checks/, targets/, frameworks/ or loaders/ holds the subclass of its name."""

import inspect
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from modelspec.framework import Framework
from modelspec.loader import Loader
from modelspec.stage import Stage
from modelspec.target import Target

T = TypeVar("T")


def _found(package: str, contract: type[T]) -> dict[str, type[T]]:
    """Name -> class, by name. A file must hold exactly one concrete subclass of the contract."""
    folder = Path(__file__).parent / package
    classes: dict[str, type[T]] = {}
    for path in sorted(folder.glob("*.py")):
        if path.stem.startswith("_"):
            continue
        module = import_module(f"modelspec.{package}.{path.stem}")
        own = [
            member
            for member in vars(module).values()
            if inspect.isclass(member)
            and issubclass(member, contract)
            and member.__module__ == module.__name__
            and not member.__name__.startswith("_")
        ]
        assert len(own) == 1, f"{path.name} must hold one {contract.__name__}, not {len(own)}"
        classes[path.stem.replace("_", "-")] = own[0]
    return classes


@cache
def stages() -> dict[str, type[Stage]]:
    """Every stage, by name, in an order that respects `after`; those that wait for the gates come last."""
    found = dict(sorted(_found("stages", Stage).items(), key=lambda item: item[1].gated))  # type: ignore[type-abstract]
    ordered: dict[str, type[Stage]] = {}
    while len(ordered) < len(found):
        ready = [
            n for n, s in found.items() if n not in ordered and all(a in ordered or a not in found for a in s.after)
        ]
        assert ready, "the stages' `after` form a cycle"
        ordered[ready[0]] = found[ready[0]]
    return ordered


@cache
def checks() -> dict[str, type[Stage]]:
    """Every check, by name: what runs in a worker as a stage does, on published files, and is part of no plan."""
    return _found("checks", Stage)  # type: ignore[type-abstract]


@cache
def frameworks() -> dict[str, type[Framework]]:
    """Every framework, by name."""
    return _found("frameworks", Framework)  # type: ignore[type-abstract]


@cache
def loaders() -> dict[str, type[Loader]]:
    """Every loader, by name."""
    return _found("loaders", Loader)  # type: ignore[type-abstract]


@cache
def targets() -> dict[str, type[Target]]:
    """Every device, by name."""
    return _found("targets", Target)  # type: ignore[type-abstract]
