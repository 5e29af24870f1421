"""Order, joining and bounds of the queue, on a model that remembers what it was given."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from modelspec.runtime.artifact import Arrays
from modelspec.runtime.errors import BusyError, RequestError
from modelspec.runtime.model import cores
from modelspec.runtime.schedule import Batching, Schedule


class Slow:
    """Takes its time; refuses negative numbers."""

    def __init__(self, seconds: float = 0.02) -> None:
        self.seconds = seconds
        self.seen: list[list[float]] = []

    def run(self, inputs: Arrays) -> Arrays:
        """Twice the input."""
        time.sleep(self.seconds)
        self.seen.append(inputs["x"][:, 0].tolist())
        if (inputs["x"] < 0).any():
            raise RequestError(400, "negative")
        return {"y": inputs["x"] * 2}


def one(value: float, rows: int = 1, width: int = 1) -> Arrays:
    """A request."""
    return {"x": np.full((rows, width), value)}


def together(schedule: Schedule, *asked: Arrays) -> list[Arrays | BaseException]:
    """All at once, in this order."""

    async def main() -> list[Arrays | BaseException]:
        found = await asyncio.gather(*(schedule.run(inputs) for inputs in asked), return_exceptions=True)
        schedule.close()
        return found

    return asyncio.run(main())


def test_order_without_joining() -> None:
    model = Slow(0.002)
    found = together(Schedule(model, parallel=1, queue=99), *(one(n) for n in range(20)))
    assert model.seen == [[n] for n in range(20)]
    assert [answer["y"].item() for answer in found] == [2 * n for n in range(20)]  # type: ignore[index]


def test_joined_in_order_and_handed_back_right() -> None:
    model = Slow()
    sizes: list[tuple[int, int]] = []
    schedule = Schedule(
        model, parallel=1, queue=99, batching=Batching(8, 0.05), ran=lambda count, rows, _: sizes.append((count, rows))
    )
    asked = [one(n, rows=1 + n % 3) for n in range(20)]
    found = together(schedule, *asked)
    assert list(chain(*model.seen)) == [n for n in range(20) for _ in range(1 + n % 3)]
    for n, answer in enumerate(found):
        assert isinstance(answer, dict)
        assert answer["y"].tolist() == [[2 * n]] * (1 + n % 3)
    assert max(map(len, model.seen)) <= 8
    assert len(model.seen) < 8
    assert sum(count for count, _ in sizes) == 20


def test_a_request_is_never_split_and_other_shapes_never_joined() -> None:
    model = Slow()
    schedule = Schedule(model, parallel=1, queue=99, batching=Batching(4, 0.01))
    together(schedule, one(1, rows=10), one(2, rows=3), one(3, rows=3), one(4), one(5, width=2), one(6, width=2))
    assert model.seen == [[1] * 10, [2] * 3, [3] * 3 + [4], [5, 6]]


def test_one_bad_request_fails_alone() -> None:
    found = together(Schedule(Slow(0), parallel=1, queue=9, batching=Batching(4, 0.05)), one(1), one(-1), one(2))
    assert isinstance(found[1], RequestError)
    assert [found[n]["y"].item() for n in (0, 2)] == [2, 4]  # type: ignore[index]


def test_a_model_that_does_not_keep_the_rows_is_run_one_by_one() -> None:
    class Total:
        """One number for all rows."""

        def run(self, inputs: Arrays) -> Arrays:
            """The sum."""
            return {"y": inputs["x"].sum(keepdims=True)}

    found = together(Schedule(Total(), parallel=1, queue=9, batching=Batching(4, 0.05)), one(1), one(2))
    assert [answer["y"].item() for answer in found] == [1, 2]  # type: ignore[index]


def test_the_delay_is_kept() -> None:
    async def main(wait: Callable[[], Awaitable[Arrays]]) -> float:
        start = time.perf_counter()
        await wait()
        return time.perf_counter() - start

    schedule = Schedule(Slow(0), parallel=1, queue=9, batching=Batching(8, 0.1))
    assert 0.09 < asyncio.run(main(lambda: schedule.run(one(1)))) < 0.3
    schedule = Schedule(Slow(0), parallel=1, queue=9, batching=Batching(8, 5))
    assert asyncio.run(main(lambda: schedule.run(one(1, rows=8)))) < 1


def test_small_requests_are_run_at_once_and_overtake_none() -> None:
    model = Slow(0.02)
    schedule = Schedule(model, parallel=1, queue=9, at_once=2)

    async def main() -> None:
        assert (await schedule.run(one(1)))["y"].item() == 2
        large = asyncio.create_task(schedule.run(one(2, rows=3)))
        await asyncio.sleep(0)
        small = asyncio.create_task(schedule.run(one(3)))
        await asyncio.gather(large, small)
        with pytest.raises(RequestError):
            await schedule.run(one(-1))
        schedule.close()

    asyncio.run(main())
    assert model.seen == [[1], [2, 2, 2], [3], [-1]]


def test_a_full_queue_refuses() -> None:
    model = Slow(0.05)
    found = together(Schedule(model, parallel=2, queue=3), *(one(n) for n in range(8)))
    refused = [isinstance(answer, BusyError) for answer in found]
    assert refused == [False] * 5 + [True] * 3
    assert sorted(chain(*model.seen)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("batching", [None, Batching(4, 0.001)])
def test_who_gives_up_is_not_run(batching: Batching | None) -> None:
    model = Slow(0.1)
    schedule = Schedule(model, parallel=1, queue=9, batching=batching)

    async def main() -> None:
        first = asyncio.create_task(schedule.run(one(1)))
        await asyncio.sleep(0.02)
        second = asyncio.create_task(schedule.run(one(2)))
        await asyncio.sleep(0)
        second.cancel()
        await first
        await schedule.run(one(3))
        schedule.close()

    asyncio.run(main())
    assert model.seen == [[1], [3]]


@pytest.mark.parametrize(("said", "expected"), [("100000 100000\n", 1), ("50000 100000", 1), ("max 100000", None), ("", None)])  # fmt: skip
def test_no_more_runs_than_the_quota_of_a_pod(said: str, expected: int | None, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(said)
    assert cores(tmp_path / "cpu.max") == (expected or len(os.sched_getaffinity(0)))
    assert cores(tmp_path / "missing") == len(os.sched_getaffinity(0))
