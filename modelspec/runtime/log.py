"""The logs: one JSON object a line. No header values, no payloads, no query: nothing that could be sent again."""

import asyncio
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from modelspec.runtime.errors import ENVIRONMENT, ServeError


def write(event: str, level: str = "info", **facts: Any) -> None:
    """One line on stderr, at once."""
    sys.stderr.buffer.write(_line(event, level, facts))
    sys.stderr.buffer.flush()


def _line(event: str, level: str, facts: dict[str, Any]) -> bytes:
    head = {"time": round(time.time(), 6), "level": level, "event": event}
    return orjson.dumps(head | facts, option=orjson.OPT_APPEND_NEWLINE)


class Handler(logging.Handler):
    """Errors of the libraries, with the places they went through; not their words, which may hold what a client sent."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        kind, error, trace = record.exc_info or (None, None, None)
        if error is None:
            write("error", level="error", logger=record.name, reason=record.getMessage().splitlines()[0][:200])
            return
        places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]
        write("error", level="error", logger=record.name, reason=getattr(kind, "__name__", ""), places=places)


class Audit:
    """Who called what, when, and how it ended: a line a request. Lines of one turn of the loop are written together."""

    def __init__(self, path: str = "") -> None:
        self._stream: BinaryIO = _opened(Path(path)) if path else sys.stderr.buffer
        self._lines: list[bytes] = []
        self.lost = 0
        """Lines that could not be written."""

    def write(self, **facts: Any) -> None:
        """One line, soon."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self.flush)
        self._lines.append(_line("request", "info", facts))

    def flush(self) -> None:
        """Write what is held."""
        lines, self._lines = self._lines, []
        try:
            self._stream.write(b"".join(lines))
            self._stream.flush()
        except OSError:
            # A full disk or a closed pipe must not end the service; the figures tell of it.
            self.lost += len(lines)


def _opened(path: Path) -> BinaryIO:
    opener: Callable[[str, int], int] = lambda name, flags: os.open(name, flags, 0o600)  # noqa: E731
    try:
        return open(path, "ab", opener=opener)
    except OSError as error:
        raise ServeError(f"the audit log {path} cannot be written: {error.strerror}", ENVIRONMENT) from error
