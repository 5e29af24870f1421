"""Events of a build as lines: plain ones as they come, or on a terminal one line per running action with its time."""

import os
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from modelspec.build import Prepared
from modelspec.execute.events import Cached, Event, Failed, Finished, Healing, Skipped, Started, Waiting
from modelspec.match import Match, Reason, State
from modelspec.options import bytes_shown
from modelspec.report.heartbeat import Heartbeat
from modelspec.report.style import Style
from modelspec.resolve import Resolved
from modelspec.store.record import Record

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_LEAST_REASON = 12
"""Columns in which a reason still tells something."""


def reason_shown(reasons: tuple[Reason, ...], resolved: Resolved, limit: int = 2) -> str:
    """Why an action runs, with the line of the option that changed."""
    shown: list[str] = []
    for reason in reasons:
        place = ""
        if reason.path is not None and (line := resolved.line(reason.path)):
            place = f" ({resolved.loaded.file.name}:{line})"
        if reason.text + place not in shown:
            shown.append(reason.text + place)
    more = len(shown) - limit
    return "; ".join(shown[:limit]) + (f"; and {more} more" if more > 0 else "")


def actions_counted(matches: Sequence[Match]) -> str:
    """How many there are, are cached, and are to run."""
    states = [match.state for match in matches]
    counted = [f"{states.count(State.CACHED)} cached", f"{sum(match.is_work for match in matches)} to run"]
    if unneeded := states.count(State.UNNEEDED):
        counted.append(f"{unneeded} not needed")
    return f"{len(matches)} actions: {', '.join(counted)}"


class Progress(Protocol):
    """Hears what a build does."""

    def prepared(self, prepared: Prepared) -> None:
        """The plan is known."""

    def event(self, event: Event) -> None:
        """Something happened."""


class NoProgress:
    """Says nothing."""

    def prepared(self, prepared: Prepared) -> None:
        """Nothing."""

    def event(self, event: Event) -> None:
        """Nothing."""


class PlainProgress:
    """One line when an action starts and one when it ends."""

    def __init__(self, stream: TextIO, style: Style) -> None:
        self.stream = stream
        self.style = style
        self.width = 12
        self.resolved: Resolved | None = None
        self.running: dict[str, tuple[float, str]] = {}
        """What runs now: since when, and why."""
        self.heartbeat = Heartbeat(self.beat)

    def prepared(self, prepared: Prepared) -> None:
        self.begin(prepared)
        self.line(f"plan  {actions_counted([prepared.matches[id_] for id_ in prepared.plan.actions])}")

    def begin(self, prepared: Prepared) -> None:
        """Say what is built."""
        self.resolved = prepared.resolved
        self.width = max((len(action.label) for action in prepared.plan.actions.values()), default=self.width)
        spec = prepared.resolved.loaded.spec
        self.line(f"{self.style.bold(spec.name)} {spec.version}  targets {', '.join(prepared.plan.targets)}")

    def event(self, event: Event) -> None:
        self.note(event)
        for line in self.lines(event):
            self.line(line)

    def note(self, event: Event) -> str:
        """Keep in mind what runs; returns why what has ended ran."""
        match event:
            case Started(match):
                self.running[match.action.label] = (time.monotonic(), self.reason(match))
            case Waiting(action):
                self.running[action.label] = (time.monotonic(), "waits for another build that is running it")
            case Cached(action, _) | Finished(action, _) | Failed(action, _, _) | Skipped(action):
                return self.running.pop(action.label, (0.0, ""))[1]
        return ""

    def beat(self) -> None:
        """Say what is still running."""
        now = time.monotonic()
        if shown := ", ".join(f"{label} {now - since:.0f} s" for label, (since, _) in self.running.copy().items()):
            self.line(f"  still running: {shown}")

    def lines(self, event: Event) -> Iterator[str]:
        match event:
            case Started(match):
                yield self._row(match.action.label, "run", self.reason(match))
            case Waiting(action):
                yield self._row(action.label, "waits", "another build is running it")
            case Healing(action):
                yield self._row(action.label, "again", "its cached result was lost or damaged")
            case Cached(action, record):
                yield self._row(action.label, "cached", bytes_shown(_size(record)))
            case Finished(action, record):
                yield self._row(
                    action.label,
                    self.style.green("done"),
                    f"{record.seconds:.1f} s  {bytes_shown(_size(record))}",
                )
            case Failed(action, problems, _):
                yield self._row(action.label, self.style.red("failed"), problems[0].code if problems else "")
            case Skipped(action):
                yield self._row(action.label, "skipped", "")

    def reason(self, match: Match) -> str:
        return reason_shown(match.reasons, self.resolved) if self.resolved else ""

    def _row(self, label: str, state: str, rest: str) -> str:
        padding = " " * (8 - len(self.style.plain(state)))
        return f"  {label:<{self.width}}  {state}{padding}{rest}".rstrip()

    def line(self, text: str) -> None:
        self.write(text)

    def write(self, text: str) -> None:
        """In one piece, so that a heartbeat does not come between."""
        self.heartbeat.heard()
        self.stream.write(text + "\n")
        self.stream.flush()


class LiveProgress(PlainProgress):
    """For a terminal: finished actions scroll up, running ones stay below with their time."""

    def __init__(self, stream: TextIO, style: Style) -> None:
        super().__init__(stream, style)
        self.live: Live | None = None

    def event(self, event: Event) -> None:
        reason = self.note(event)
        if not isinstance(event, Started | Waiting):
            for line in self.lines(event):
                self.line(line + self._beside(line, reason))
        if self.live:
            self.live.refresh()

    def _beside(self, line: str, reason: str) -> str:
        """The reason as far as the line has room for it: what wraps is hard to read."""
        room = (self.live.console.width if self.live else 80) - len(self.style.plain(line)) - 3
        if len(reason) > room:
            reason = reason[: max(room - 3, 0)] + "..." if room > _LEAST_REASON else ""
        return f"  {self.style.dim(reason)}" if reason else ""

    def line(self, text: str) -> None:
        if self.live:
            from rich.text import Text

            self.live.console.print(Text.from_ansi(text), soft_wrap=True)
        else:
            super().line(text)

    def table(self) -> "Table":
        """One row per running action, and one line per row on the narrowest terminal."""
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, min_width=self.width + 2)
        table.add_column(no_wrap=True, min_width=len("running 9999 s"))
        table.add_column(no_wrap=True, overflow="ellipsis")
        for label, (since, reason) in self.running.items():
            # As Text: a reason may hold brackets, which are markup in a plain string.
            table.add_row(Text(f"  {label}"), Text(f"running {time.monotonic() - since:.0f} s"), Text(reason))
        return table


@contextmanager
def progress_for(kind: str, stream: TextIO, style: Style) -> Iterator[Progress]:
    """The progress display for `auto`, `plain`, `github` or `none`; `auto` is live on a terminal and plain elsewhere."""
    if kind == "none":
        yield NoProgress()
    elif kind in {"plain", "github"} or not stream.isatty() or os.environ.get("TERM") == "dumb":
        from modelspec.report.github_log import GithubProgress

        plain = GithubProgress(stream, style) if kind == "github" else PlainProgress(stream, style)
        with plain.heartbeat.going():
            yield plain
    else:
        from rich.console import Console
        from rich.live import Live

        progress = LiveProgress(stream, style)
        console = Console(file=stream, no_color=not style.color, highlight=False)
        with Live(console=console, get_renderable=progress.table, refresh_per_second=4, transient=True) as live:
            progress.live = live
            yield progress
        progress.live = None


def _size(record: Record) -> int:
    return sum(output.size for output in record.outputs)


def relative(path: Path) -> str:
    """A path as one would type it here, in a shell."""
    absolute, here = path.absolute(), Path.cwd()
    name = str(absolute.relative_to(here) if absolute.is_relative_to(here) else path)
    if name.isprintable():
        return shlex.quote(name)
    escaped = name.encode("unicode_escape").decode().replace("'", r"\'")
    return f"$'{escaped}'"
