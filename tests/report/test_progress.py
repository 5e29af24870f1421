"""What a terminal shows of a running build."""

import io
import time

import pytest
from rich.console import Console

from modelspec.report.progress import LiveProgress
from modelspec.report.style import Style


@pytest.mark.parametrize("width", [20, 40, 100])
def test_one_line_per_running_action(width: int) -> None:
    stream = io.StringIO()
    progress = LiveProgress(stream, Style())
    progress.width = 8
    began = time.monotonic()
    progress.running = {"convert": (began, "file a[/b]/[red].py changed; and 3 more " * 3), "compile": (began, "")}
    Console(file=stream, width=width, highlight=False).print(progress.table())
    first, second = stream.getvalue().splitlines()
    assert first.startswith("  convert")
    assert second.startswith("  compile")
    if width == 100:
        assert "file a[/b]/[red].py changed" in first
        assert first.index("running") == second.index("running") == 12
