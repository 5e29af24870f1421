"""The log of a build in GitHub Actions: the plan and the logs of failures fold away, and no text of a user is a command."""

import secrets
from pathlib import Path

from modelspec.build import Prepared
from modelspec.execute.events import Event, Failed
from modelspec.report.machine import harmless
from modelspec.report.progress import PlainProgress, actions_counted

_TAIL_LINES = 200


class GithubProgress(PlainProgress):
    """One line for each event, in folds where there is more to say."""

    def prepared(self, prepared: Prepared) -> None:
        self.begin(prepared)
        matches = [prepared.matches[id_] for id_ in prepared.plan.actions]
        with_reasons = [self._row(m.action.label, m.state, self.reason(m)) for m in matches]
        self.fold(f"plan  {actions_counted(matches)}", with_reasons)

    def event(self, event: Event) -> None:
        super().event(event)
        if isinstance(event, Failed) and event.log:
            self.fold(f"log of {event.action.label}", _tail(Path(event.log)), told=True)

    def fold(self, title: str, lines: list[str], *, told: bool = False) -> None:
        """Lines that open on a click; where they are `told` by others than modelspec, the runner obeys none of them."""
        word = secrets.token_hex(16)
        within = [f"::stop-commands::{word}", *lines, f"::{word}::"] if told else [harmless(line) for line in lines]
        self.write("\n".join([f"::group::{harmless(title)}", *within, "::endgroup::"]))

    def line(self, text: str) -> None:
        self.write(harmless(text))


def _tail(log: Path) -> list[str]:
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines = text.splitlines()
    left_out = [f"({len(lines) - _TAIL_LINES} lines before)"] if len(lines) > _TAIL_LINES else []
    return left_out + lines[-_TAIL_LINES:]
