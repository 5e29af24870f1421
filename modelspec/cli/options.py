"""Options that several commands share."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click

from modelspec.errors import fail

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path, readable=False)
"""A file that the command opens itself: what it cannot read is then said with a code."""
FOLDER = click.Path(path_type=Path, file_okay=False, readable=False)

COLORS = ("auto", "always", "never")


def file_option(command: F) -> F:
    """`-f/--file`: the spec; looked for when left out."""
    return click.option(
        "-f",
        "--file",
        type=PATH,
        help="The spec. Default: model.yaml here, or in the folders around it up to the repository's root.",
    )(command)


def color_option(command: F) -> F:
    """`--color`, kept in the context, where errors find it too."""
    return click.option(
        "--color",
        type=click.Choice(COLORS),
        default="auto",
        show_default=True,
        expose_value=False,
        is_eager=True,
        callback=lambda context, _, value: context.meta.__setitem__("modelspec.color", value),
        help="When to colour the output. NO_COLOR wins over FORCE_COLOR, and both over auto.",
    )(command)


def format_option(*formats: str) -> Callable[[F], F]:
    """`--format`, kept in the context, where errors find it too."""

    def keep(context: click.Context, _: click.Parameter, value: str) -> str:
        context.meta["modelspec.format"] = value
        return value

    return click.option(
        "--format",
        "format_",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        is_eager=True,
        callback=keep,
        help="Form of the output.",
    )


def progress_option(command: F) -> F:
    """`--progress`: how to show what is going on."""
    return click.option(
        "--progress",
        type=click.Choice(("auto", "plain", "none")),
        default="auto",
        show_default=True,
        help="How to show what is going on: live on a terminal, plain lines elsewhere.",
    )(command)


def target_option(command: F) -> F:
    """`-t/--target`: only these targets."""
    return click.option(
        "-t", "--target", "targets", multiple=True, metavar="NAME", help="Only this target; may be repeated."
    )(command)


def output_option(command: F) -> F:
    """`-o/--output`: the folder to publish to."""
    return click.option(
        "-o",
        "--output",
        type=FOLDER,
        default=Path("dist"),
        show_default=True,
        help="Folder to publish to.",
    )(command)


def locked_option(command: F) -> F:
    """`--locked`: model.lock stays as it is."""
    return click.option("--locked", is_flag=True, help="Fail (5) where anything differs from model.lock.")(command)


def offline_option(command: F) -> F:
    """`--offline`: no network."""
    return click.option(
        "--offline", is_flag=True, help="Load nothing over the network: what is missing is said at once (4)."
    )(command)


def jobs_option(command: F) -> F:
    """`-j/--jobs`: how much runs at once."""
    return click.option(
        "-j", "--jobs", type=click.IntRange(1, 256), help="Actions at once; the number of cores when left out."
    )(command)


def timeout_option(command: F) -> F:
    """`--timeout`: how long an action may take."""
    return click.option(
        "--timeout", type=click.IntRange(1, 30 * 86400), default=3600, show_default=True, help="Seconds for one action."
    )(command)


def deadline_option(command: F) -> F:
    """`--timeout`: how long a transfer may take."""
    return click.option(
        "--timeout", type=click.FloatRange(1), default=3600.0, show_default=True, help="Seconds for all of it together."
    )(command)


def sayer(progress: str) -> Callable[[str], None]:
    """What goes on behind a transfer, to stderr."""
    return (lambda _: None) if progress == "none" else (lambda text: click.echo(f"  {text}", err=True))


def memory_option(command: F) -> F:
    """`--memory`: how much an action may hold."""
    return click.option(
        "--memory", metavar="SIZE", help="Memory for each process of an action, such as 4GiB; no limit when left out."
    )(command)


def cache_option(command: F) -> F:
    """`--cache-dir`: where results are kept between builds."""
    return click.option(
        "--cache-dir",
        type=FOLDER,
        envvar="MODELSPEC_CACHE_DIR",
        help="Folder of the cache. Default: MODELSPEC_CACHE_DIR, or the user's cache folder.",
    )(command)


def spec_file(file: Path | None) -> Path:
    """The spec that was named, or the one that is found."""
    from modelspec.spec.load import find

    return file if file is not None else find(Path())


def use_color(stream: TextIO, context: click.Context | None = None) -> bool:
    """Whether to colour what goes to `stream`."""
    context = context or click.get_current_context(silent=True)
    choice = context.meta.get("modelspec.color", "auto") if context else "auto"
    return color_wanted(choice, stream)


def color_wanted(choice: str, stream: TextIO) -> bool:
    """NO_COLOR wins over everything, then the option, then FORCE_COLOR, then whether it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if choice != "auto":
        return choice == "always"
    if os.environ.get("FORCE_COLOR", "0") not in {"", "0"}:
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def fail_usage(message: str) -> None:
    """End with exit status 2 and the usage line."""
    raise click.UsageError(message)


def out(text: str) -> None:
    """Data: to stdout."""
    sys.stdout.write(text + "\n")


def size(option: str, written: str | None) -> int | None:
    """The bytes of a size with a unit. Raises MS325."""
    if written is None:
        return None
    from pydantic_core import PydanticCustomError

    from modelspec.options import parse_quantity

    try:
        number, unit = parse_quantity(written)
    except PydanticCustomError as error:
        raise fail("MS325", f"{option}: {error.message()}", help="for example: 2GiB") from None
    if unit != "bytes":
        raise fail("MS325", f"{option}: {written!r} is not a size", help="for example: 2GiB")
    return round(number)
