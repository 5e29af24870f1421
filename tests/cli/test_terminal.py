"""A build on a real terminal: narrow and wide, without colour, on one that can do nothing, and where there is none."""

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "breast-cancer"
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-ln-z]|\r")
LABELS = ("load:test", "sample:test", "reference:test", "convert", "compile", "processing", "golden", "evaluate")

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(EXAMPLE, tmp_path / "cancer", ignore=shutil.ignore_patterns("dist", "*.lock", "__pycache__"))


def on_terminal(folder: Path, width: int, *args: str, **env: str) -> str:
    """Everything that `modelspec build` writes to a terminal of that width."""
    command = [sys.executable, "-m", "modelspec", "build", "--cache-dir", "cache", *args]
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, width, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS"}}
    with subprocess.Popen(
        command, cwd=folder, stdout=slave, stderr=slave, stdin=slave, env={**kept, "TERM": "xterm-256color", **env}
    ) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            shown += part
        assert process.wait(60) == 0, shown
    os.close(master)
    return shown.decode()


@pytest.mark.parametrize("width", [45, 100])
def test_every_action_ends_with_one_line_that_fits(folder: Path, width: int) -> None:
    shown = on_terminal(folder, width)
    assert _COLOR.search(shown)
    lines = _CONTROL.sub("", _COLOR.sub("", shown)).splitlines()
    for label in LABELS:
        (ended,) = [line for line in lines if re.search(rf"  {label} +done ", line)]
        ended = ended[ended.rindex(f"  {label} ") :]
        assert len(ended) <= width, ended
        assert ("not built before" in ended) == (width == 100)
    assert any(line.startswith("wrote  dist/breast-cancer/1.0.0") for line in lines)
    table = [line for line in lines if line.startswith("  cpu-fp32  ")]
    assert len({line.index(" ok") for line in table}) == 1
    assert lines[-1] == "next  modelspec inspect dist/breast-cancer/1.0.0"


def test_no_color_takes_the_colour_and_nothing_else(folder: Path) -> None:
    shown = on_terminal(folder, 80, NO_COLOR="1")
    assert not _COLOR.search(shown)
    assert _CONTROL.search(shown.replace("\r\n", "\n"))


def test_a_terminal_that_can_do_nothing_gets_lines(folder: Path) -> None:
    shown = on_terminal(folder, 80, TERM="dumb")
    assert "\x1b" not in shown
    assert "\r" not in shown.replace("\r\n", "\n")
    assert len(re.findall(r" done ", shown)) == len(LABELS)


def test_where_there_is_no_terminal_there_are_lines(folder: Path) -> None:
    command = [sys.executable, "-m", "modelspec", "build", "--cache-dir", "cache"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert len(re.findall(r" run  +not built before", done.stderr)) == len(LABELS)
    assert done.stdout.startswith("gates\n")
