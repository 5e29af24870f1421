"""Decides which requests run when: in the order they came, at most so many at a time, joined along the batch axis where asked."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

from modelspec.runtime.artifact import Arrays
from modelspec.runtime.errors import FullError, RequestError


class Runs(Protocol):
    """What is scheduled."""

    def run(self, inputs: Arrays) -> Arrays:
        """Outputs by name."""
        ...


@dataclass(frozen=True)
class Batching:
    """Requests are joined up to `max_size` rows; the first waits for others at most `max_delay` seconds."""

    max_size: int = 1
    max_delay: float = 0.0


@dataclass(eq=False)
class _Waiting:
    inputs: Arrays
    rows: int
    shape: tuple[Any, ...]
    since: float
    future: "asyncio.Future[Arrays]" = field(repr=False)


class Schedule:
    """One queue, several threads. Up to `at_once` elements a request is so small that a thread would take longer than its run."""

    def __init__(
        self,
        model: Runs,
        *,
        parallel: int,
        queue: int,
        batching: Batching | None = None,
        at_once: int = 0,
        ran: Callable[[int, int, float], None] | None = None,
    ) -> None:
        self._model = model
        self._free, self._limit = parallel, queue
        self._batching, self._at_once = batching, at_once
        self._ran = ran
        self._waiting: deque[_Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="model")

    @property
    def length(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    async def run(self, inputs: Arrays) -> Arrays:
        """The outputs of one request. Raises FullError when too many wait already."""
        if len(self._waiting) >= self._limit and not self._free:
            raise FullError("too many requests wait for the model; try again later")
        if self._free and not self._waiting and sum(array.size for array in inputs.values()) <= self._at_once:
            return self._run_here(inputs)
        loop = asyncio.get_running_loop()
        rows = next((array.shape[0] for array in inputs.values() if array.ndim), 1)
        shape = tuple(array.shape[1:] for array in inputs.values()) if self._batching else ()
        one = _Waiting(inputs, rows, shape, loop.time(), loop.create_future())
        self._waiting.append(one)
        self._start()
        return await one.future

    def _run_here(self, inputs: Arrays) -> Arrays:
        began = time.perf_counter()
        try:
            return self._model.run(inputs)
        finally:
            if self._ran:
                rows = next((array.shape[0] for array in inputs.values() if array.ndim), 1)
                self._ran(1, rows, time.perf_counter() - began)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and self._free:
            if (wait := self._wait(loop.time())) > 0:
                if self._timer is None:
                    self._timer = loop.call_later(wait, self._due)
                return
            batch = [one for one in self._take() if not one.future.done()]
            if not batch:
                continue
            self._free -= 1
            done = loop.run_in_executor(self._threads, _run, self._model, batch)
            done.add_done_callback(partial(self._finish, batch, loop.time()))

    def _due(self) -> None:
        self._timer = None
        self._start()

    def _wait(self, now: float) -> float:
        """Seconds that the first request still waits for others."""
        if not self._batching or len(self._waiting) != len(head := self._head()):
            return 0
        if sum(one.rows for one in head) >= self._batching.max_size:
            return 0
        return head[0].since + self._batching.max_delay - now

    def _head(self) -> list[_Waiting]:
        """The requests at the head of the queue that fit into one run: none is split, none is overtaken."""
        assert self._batching is not None
        first, rows = self._waiting[0], 0
        head: list[_Waiting] = []
        for one in self._waiting:
            if head and (one.shape != first.shape or rows + one.rows > self._batching.max_size):
                break
            head.append(one)
            rows += one.rows
        return head

    def _take(self) -> list[_Waiting]:
        count = len(self._head()) if self._batching else 1
        return [self._waiting.popleft() for _ in range(count)]

    def _finish(self, batch: list[_Waiting], began: float, done: "asyncio.Future[list[Arrays | Exception]]") -> None:
        self._free += 1
        if self._ran:
            self._ran(len(batch), sum(one.rows for one in batch), asyncio.get_running_loop().time() - began)
        error = None if done.cancelled() else done.exception()
        results = [error] * len(batch) if error else done.result()
        for one, result in zip(batch, results, strict=True):
            if one.future.done():
                continue
            if isinstance(result, BaseException):
                one.future.set_exception(result)
            else:
                assert result is not None
                one.future.set_result(result)
        self._start()


def _run(model: Runs, batch: Sequence[_Waiting]) -> list[Arrays | Exception]:
    if len(batch) == 1:
        return [_alone(model, batch[0].inputs)]
    joined = {name: np.concatenate([one.inputs[name] for one in batch]) for name in batch[0].inputs}
    rows = sum(one.rows for one in batch)
    try:
        found = model.run(joined)
    except RequestError:
        found = {}
    if not found or any(array.shape[:1] != (rows,) for array in found.values()):
        # One request must not fail for another's sake.
        return [_alone(model, one.inputs) for one in batch]
    results: list[Arrays | Exception] = []
    at = 0
    for one in batch:
        results.append({name: array[at : at + one.rows] for name, array in found.items()})
        at += one.rows
    return results


def _alone(model: Runs, inputs: Arrays) -> Arrays | Exception:
    try:
        return model.run(inputs)
    except RequestError as error:
        return error
