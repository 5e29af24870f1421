"""What happens during a build, as data; `report` turns it into lines."""

from dataclasses import dataclass

from modelspec.errors import Diagnostic
from modelspec.match import Match
from modelspec.plan import Action
from modelspec.store.record import Record


@dataclass(frozen=True)
class Started:
    """A worker began."""

    match: Match


@dataclass(frozen=True)
class Waiting:
    """Another build is running this very action."""

    action: Action


@dataclass(frozen=True)
class Healing:
    """The action's cached bytes turned out to be lost or damaged: it runs again."""

    action: Action


@dataclass(frozen=True)
class Cached:
    """The result was there."""

    action: Action
    record: Record


@dataclass(frozen=True)
class Finished:
    """A worker ended well and its result is in the store."""

    action: Action
    record: Record


@dataclass(frozen=True)
class Failed:
    """A worker ended badly."""

    action: Action
    problems: tuple[Diagnostic, ...]
    log: str


@dataclass(frozen=True)
class Skipped:
    """Not run, because something it needs failed or the build is stopping."""

    action: Action


@dataclass(frozen=True)
class Warned:
    """Something about this machine that whoever builds should know, once."""

    warning: Diagnostic


Event = Started | Waiting | Healing | Cached | Finished | Failed | Skipped | Warned
