"""A line now and then while nothing else is said: a log that stands still looks like a build that hangs."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS = 30.0


class Heartbeat:
    """Calls `beat` when `heard` was not called for a while."""

    def __init__(self, beat: Callable[[], None], seconds: float = SECONDS) -> None:
        self._beat, self._seconds = beat, seconds
        self._last = time.monotonic()
        self._ended = threading.Event()

    def heard(self) -> None:
        """Something was said just now."""
        self._last = time.monotonic()

    @contextmanager
    def going(self) -> Iterator[None]:
        """Beat until the block ends."""
        thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join(1.0)

    def _run(self) -> None:
        while not self._ended.wait(max(0.01, self._last + self._seconds - time.monotonic())):
            if time.monotonic() - self._last >= self._seconds:
                self.heard()
                self._beat()
