"""A kill, half a write or an error at every call by which a build changes files: nothing torn, nothing lost, no cleaning."""

import errno
import json
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import Tell

KILLS, TORN_AND_KILLS = 1000, 1500


def strike(*arguments: str) -> dict[str, Any]:
    """In a process of its own: the points fork, and replace what they count."""
    command = [sys.executable, "-m", "tests.faults.points", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.startswith("{"), done.stderr
    tally: dict[str, Any] = json.loads(done.stdout)
    assert not tally["violations"], "\n".join(tally["violations"][:5])
    return tally


def say(tell: Tell, what: str, tally: dict[str, Any]) -> None:
    tell(f"{tally['points']} {what}: none torn, none lost, {len(tally['calls'])} kinds of calls")


def test_kills_at_some_calls(tell: Tell) -> None:
    tally = strike("--every", "83")
    assert tally["points"] >= 20
    assert set(tally["ends"]) == {"-9"}
    say(tell, "kills", tally)


def test_errors_at_some_calls(tell: Tell) -> None:
    tally = strike("--every", "149", "--errno", str(errno.EIO))
    assert tally["points"] >= 20
    assert set(tally["ends"]) <= {"0", "4", "2"}
    say(tell, "failed calls", tally)


@pytest.mark.faults
def test_kills_at_every_call(tell: Tell) -> None:
    tally = strike("--every", "1")
    assert tally["points"] >= TORN_AND_KILLS
    say(tell, "kills", tally)


@pytest.mark.faults
def test_errors_at_many_calls(tell: Tell) -> None:
    codes = (errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EROFS, errno.EFBIG)
    tally = strike("--every", "11", "--errno", *map(str, codes))
    assert tally["points"] >= KILLS
    say(tell, "failed calls", tally)
