"""What a terminal shows of a running build."""

import io
import subprocess
import time
from pathlib import Path

import pytest
from rich.console import Console

from modelspec.report.progress import LiveProgress, relative
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


def test_paths_can_be_pasted_into_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("dist", "with space", "quo'te", "$(x)", "-dash", "new\nline \x1b[31m", 'it\'s\n"new"', "名前"):
        shown = relative(tmp_path / name)
        assert shown.isprintable()
        done = subprocess.run(["bash", "-c", f"printf %s {shown}"], capture_output=True, text=True, check=True)
        assert done.stdout == name
    assert relative(tmp_path.parent / "other") == str(tmp_path.parent / "other")
