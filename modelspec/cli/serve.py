"""`modelspec serve`: a published model over HTTP, by the code that an image runs."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from modelspec.cli import options
from modelspec.errors import fail
from modelspec.runtime.references import Reference
from modelspec.runtime.settings import options as settings


def _settings(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(list(settings())):
        if option.kind is bool:
            command = click.option(option.flag, is_flag=True, help=option.help)(command)
            continue
        kinds: dict[type, Any] = {
            int: click.IntRange(_whole(option.minimum), _whole(option.maximum)),
            float: click.FloatRange(option.minimum, option.maximum),
            str: str,
            Reference: str,
        }
        command = click.option(option.flag, type=kinds[option.kind], help=option.text)(command)
    return command


def _whole(limit: float | None) -> int | None:
    return None if limit is None else int(limit)


@click.command()
@click.argument("folder", type=options.FOLDER)
@click.option("-t", "--target", metavar="NAME", help="The target, where FOLDER holds several.")
@options.color_option
@_settings
def command(folder: Path, target: str | None, **given: Any) -> None:
    """Serve dist/<name>/<version>/<target>, or a target of dist/<name>/<version>."""
    from modelspec.report.doctor import COMMANDS

    _require(serve=COMMANDS["serve"])
    place = _place(folder, target)
    if _takes_text(place):
        _require(text=("tokenizers",))
    # -P: what lies in the current folder is no part of the server.
    words = [sys.executable, "-P", "-m", "modelspec.runtime", str(place)]
    for option in settings():
        value = given[option.field]
        if option.kind is bool:
            words += [option.flag] * value
        elif value is not None:
            words.append(f"{option.flag}={value}")
    # In place of this process, and without its modules: the model never runs in the command itself, and signals arrive.
    os.execv(sys.executable, words)  # noqa: S606 - no shell


def _require(**needed: tuple[str, ...]) -> None:
    from modelspec.errors import ModelspecError
    from modelspec.resolve import missing_packages

    if missing := missing_packages(needed):
        raise ModelspecError(missing)


def _takes_text(folder: Path) -> bool:
    """Whether a tokenizer is needed. A file that cannot be read is refused by the server, with its reason."""
    try:
        return "tokenizer" in json.loads((folder / "runtime.json").read_bytes()).get("processing", {})
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return False


def _place(folder: Path, target: str | None) -> Path:
    if (folder / "runtime.json").is_file() and target in {None, folder.resolve().name}:
        return folder
    found = sorted(path.parent.name for path in folder.glob("*/runtime.json"))
    if target in found:
        return folder / str(target)
    if target is None and len(found) == 1:
        return folder / found[0]
    if not found:
        raise fail("MS325", f"{folder} holds no runtime.json", help="give the folder dist/<name>/<version> of a build")
    what = "which target?" if target is None else f"{folder} has no target {target!r}"
    raise fail("MS308", what, help=f"-t {' or -t '.join(found)}")
