"""The Dockerfile of what has to be run in a root file system: rendered, then read again before anybody else reads it."""

import json

from modelspec.errors import fail
from modelspec.render import render

INSTALL = ("/bin/sh", "-ec", ("apt-get update; apt-get install -y --no-install-recommends -- \"$@\"; "
           "rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log"), "sh")  # fmt: skip
"""The one program that is a shell's: its text is fixed, and the packages are its arguments."""


def dockerfile(base: str, packages: tuple[str, ...], steps: tuple[tuple[str, ...], ...]) -> str:
    """The text. Raises MS548 where it would not say exactly what it was made from."""
    environment = "DEBIAN_FRONTEND=noninteractive"
    install = ("/usr/bin/env", environment, *INSTALL)
    text = render("docker/Dockerfile.j2", base=base, install=install, packages=packages, steps=steps)
    expected = [(*install, *packages)] if packages else []
    if _read(text, base) != [*expected, *steps]:
        raise fail(
            "MS548", "the Dockerfile does not say what the spec says", help="report it: this is a bug in modelspec"
        )
    return text


def _read(text: str, base: str) -> list[tuple[str, ...]]:
    """The programs that it runs: nothing else may stand in it."""
    first, second, *rest = text.removesuffix("\n").split("\n")
    programs = []
    for line in rest:
        if not line.startswith("RUN [") or not line.endswith("]") or not line.isascii() or not line.isprintable():
            return []
        programs.append(tuple(json.loads(line.removeprefix("RUN "))))
    return programs if (first, second) == (f"FROM {base}", "USER 0:0") else []
