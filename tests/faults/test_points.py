"""A kill, half a write or an error at every call by which a build changes files: nothing torn, nothing lost, no cleaning."""

import errno
import json
import subprocess
import sys
from typing import Any

import pytest

KILLS, TORN_AND_KILLS = 1000, 1500


def strike(*arguments: str) -> dict[str, Any]:
    """In a process of its own: the points fork, and replace what they count."""
    command = [sys.executable, "-m", "tests.faults.points", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.startswith("{"), done.stderr
    tally: dict[str, Any] = json.loads(done.stdout)
    assert not tally["violations"], "\n".join(tally["violations"][:5])
    return tally


def say(capfd: pytest.CaptureFixture[str], what: str, tally: dict[str, Any]) -> None:
    with capfd.disabled():
        print(f"\n{tally['points']} {what}: none torn, none lost, {len(tally['calls'])} kinds of calls")


def test_kills_at_some_calls(capfd: pytest.CaptureFixture[str]) -> None:
    tally = strike("--every", "41")
    assert tally["points"] >= 40
    assert set(tally["ends"]) == {"-9"}
    say(capfd, "kills", tally)


def test_errors_at_some_calls(capfd: pytest.CaptureFixture[str]) -> None:
    tally = strike("--every", "97", "--errno", str(errno.EIO), str(errno.ENOSPC))
    assert tally["points"] >= 20
    assert set(tally["ends"]) <= {"0", "4", "2"}
    say(capfd, "failed calls", tally)


@pytest.mark.faults
def test_kills_at_every_call(capfd: pytest.CaptureFixture[str]) -> None:
    tally = strike("--every", "1")
    assert tally["points"] >= TORN_AND_KILLS
    say(capfd, "kills", tally)


@pytest.mark.faults
def test_errors_at_many_calls(capfd: pytest.CaptureFixture[str]) -> None:
    codes = (errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EROFS, errno.EFBIG)
    tally = strike("--every", "11", "--errno", *map(str, codes))
    assert tally["points"] >= KILLS
    say(capfd, "failed calls", tally)
