"""The `modelspec` command: finds the file of a subcommand, runs it, and turns what went wrong into text and a status."""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Any, NoReturn


def _without_plugins() -> None:
    """Spare pydantic the search for plug-ins of its own: over all installed distributions it costs as much as pydantic.

    Its own switch, PYDANTIC_DISABLE_PLUGINS, still imports what it would have searched with.
    """
    loader = ModuleType("pydantic.plugin._loader")
    loader.get_plugins = tuple  # type: ignore[attr-defined]
    sys.modules.setdefault(loader.__name__, loader)


_without_plugins()

import click  # noqa: E402

from modelspec.errors import Exit, ModelspecError  # noqa: E402
from modelspec.words import closest  # noqa: E402

_NO_COMMANDS = {"__init__", "options", "errors"}
_BROKEN_PIPE = 128 + 13
_STDOUT, _STDERR = 1, 2


class Commands(click.Group):
    """Each file of this folder is a command of the same name; it is imported when it is invoked."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        names = {path.stem for path in Path(__file__).parent.glob("*.py")} - _NO_COMMANDS
        return sorted(name.replace("_", "-") for name in names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        stem = cmd_name.replace("-", "_")
        folder = Path(__file__).parent
        if stem in _NO_COMMANDS or not stem.isidentifier() or not (folder / f"{stem}.py").is_file():
            return None
        command = import_module(f"modelspec.cli.{stem}").command
        assert isinstance(command, click.Command)
        return command

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Read the arguments; --help and --version print here."""
        with _unwritten_is_told(OSError):
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a ModelspecError becomes diagnostics and an exit status here, and nowhere else."""
        from modelspec.cli import errors

        try:
            with _unwritten_is_told(BrokenPipeError), errors.refusals_explained(ctx):
                return super().invoke(ctx)
        except ModelspecError as error:
            errors.show(error, ctx)
            ctx.exit(error.exit)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = closest(args[0], self.list_commands(ctx))
            if near and not args[0].startswith("-"):
                raise click.UsageError(f"No such command {args[0]!r}. Did you mean {near!r}?", ctx) from error
            raise


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from modelspec.toolchain import own_version

        click.echo(f"modelspec {own_version()}")
        context.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and exit."
)
def command() -> None:
    """Build verified, reproducible model artifacts from one model.yaml."""


def main() -> NoReturn:
    """Run the command line and exit."""
    sys.excepthook = _bug
    _open_streams()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        status = command.main(prog_name="modelspec", standalone_mode=False)
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        status = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        with suppress(OSError):
            sys.stderr.write("interrupted\n")
        status = Exit.INTERRUPTED
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            unwritten = _unwritten(error)
            status = status or unwritten
    gc.freeze()  # the interpreter need not look for garbage among all modules once more before it ends
    sys.exit(int(status) if isinstance(status, int) else Exit.OK)


def _open_streams() -> None:
    """Give closed streams a place to go: their numbers would fall to files, which then got the messages.

    What a stream's encoding lacks is shown escaped.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(number)
    for name, number in (("stdout", _STDOUT), ("stderr", _STDERR)):
        stream = getattr(sys, name) or os.fdopen(number, "w", encoding="utf-8", closefd=False)
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, stream)


@contextmanager
def _unwritten_is_told(kind: type[OSError]) -> Iterator[None]:
    """End with a status of its own; click itself ends with 1 when a pipe is closed, which means a failed gate."""
    try:
        yield
    except kind as error:
        raise click.exceptions.Exit(_unwritten(error)) from None


def _unwritten(error: OSError) -> int:
    """The output could not be written. Returns the exit status; the interpreter must not fail again when it flushes."""
    closed = isinstance(error, BrokenPipeError)  # whoever read it has seen enough
    if not closed:
        with suppress(OSError):
            sys.stderr.write(f"error: the output cannot be written: {error.strerror}\n")
            sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (_STDOUT, _STDERR):
        os.dup2(nowhere, number)
    return _BROKEN_PIPE if closed else Exit.ENVIRONMENT


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(Exit.TERMINATED)


def _bug(kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    """Whatever no one foresaw: a report that can be pasted into an issue, and exit status 70."""
    from modelspec.cli.errors import crash_report

    place = crash_report(error)
    with suppress(OSError):
        sys.stderr.write(
            f"error: a bug in modelspec: {kind.__name__}: {error}\n"
            f"The report is in {place}; please attach it to an issue.\n"
        )
        sys.stderr.flush()
    # The interpreter would end with 1, which means a failed gate.
    os._exit(Exit.BUG)
