"""Another environment than this one, in everything that may not change a build."""

import locale
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelspec.execute.pool import environment

_LOCALES = ("tr_TR.UTF-8", "de_DE.UTF-8", "C.UTF-8", "C")
"""The first that exists and is not in use: dotless i and decimal comma have broken more than one tool."""
_ZONES = ("NPT-5:45", "NST3:30")
"""In the form that needs no data base of time zones."""
_USER = "rebuild"
_KEPT = ("PYTHONPATH", "PYTHONUSERBASE")


@dataclass(frozen=True)
class Variation:
    """What a rebuild sees."""

    env: Mapping[str, str]
    umask: int
    cores: tuple[int, ...]

    def shown(self) -> dict[str, str]:
        """What was varied, by name."""
        here = os.sched_getaffinity(0)
        names = {name: self.env[name] for name in ("PYTHONHASHSEED", "TZ", "LC_ALL", "USER")}
        return {**names, "umask": f"{self.umask:03o}", "cores": f"{len(self.cores)} of {len(here)}"}


def vary(folder: Path) -> Variation:
    """An environment with its home and its temporary files below `folder`, which must be there."""
    home, temporary = folder / "home", folder / "tmp"
    for made in (home, temporary):
        made.mkdir()
    cores = sorted(os.sched_getaffinity(0))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    # A checkout, and what is installed for one user, are found through the folders of this environment.
    found = {name: value for name, value in environment(home).items() if name in _KEPT}
    varied = {
        "PYTHONHASHSEED": "77" if os.environ.get("PYTHONHASHSEED") != "77" else "78",
        "TZ": _other(_ZONES, os.environ.get("TZ", "")),
        "LC_ALL": _other([name for name in _LOCALES if _exists(name)], os.environ.get("LC_ALL", "")),
        "HOME": str(home),
        "TMPDIR": str(temporary),
        **dict.fromkeys(("USER", "LOGNAME", "LNAME", "USERNAME"), _USER),
    }
    return Variation({**kept, **found, **varied}, _other_umask(), tuple(cores[:-1] or cores))


def _other(values: "list[str] | tuple[str, ...]", now: str) -> str:
    return next(value for value in values if value != now)


def _exists(name: str) -> bool:
    now = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        return False
    finally:
        locale.setlocale(locale.LC_ALL, now)
    return True


def _other_umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return 0o077 if now != 0o077 else 0o022
