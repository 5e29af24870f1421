"""Whether the server keeps what it is done with: `python -m benchmarks.memory dist/<name>/<version>/<target>`

As many requests as an hour has at the given rate, as fast as they are answered: bytes and JSON of one row and of many, what is
refused, scrapes of the figures, connections that come and go. Prints the memory of the server over that after the warm-up.
"""

import argparse
import asyncio
import json
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Row, show
from benchmarks.serve import Server, as_json, request

CLIENTS = 8
PER_CONNECTION = 500
"""Requests after which a client connects anew."""
WARM_UP = 20_000
"""Requests; the pools of the allocator and of ONNX Runtime have their size by then."""


def mixture(folder: Path) -> tuple[bytes, ...]:
    """What is asked in turns."""
    path = "/v2/models/bench/infer"
    plain = as_json(folder, path=path, bare=False)
    wrong = b'{"inputs": [{"name": "nothing"}]}'
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(wrong)}\r\n\r\n".encode()
    gets = tuple(f"GET {place} HTTP/1.1\r\nHost: bench\r\n\r\n".encode() for place in ("/v2/nothing", "/metrics"))
    return (request(folder),) * 6 + (plain,) * 6 + (many(folder, path), head + wrong, *gets)


def many(folder: Path, path: str) -> bytes:
    """Sixteen rows."""
    (tensor,) = json.loads((folder / "signature.json").read_text())["inputs"]
    array = np.load(folder / "golden" / "inputs.npz")[tensor["name"]][:1].repeat(16, axis=0)
    entry = {"name": tensor["name"], "datatype": "FP32", "shape": array.shape, "data": array.ravel().tolist()}
    body = json.dumps({"inputs": [entry]})
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


async def _client(port: int, mix: tuple[bytes, ...], numbers: Any, total: int) -> None:
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(PER_CONNECTION):
            if (number := next(numbers)) >= total:
                writer.close()
                return await writer.wait_closed()
            writer.write(mix[number % len(mix)])
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert int(head[9:12]) in {200, 400, 404}, head
            await reader.readexactly(int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]))
        writer.close()
        await writer.wait_closed()


async def ask(port: int, mix: tuple[bytes, ...], total: int) -> None:
    """So many requests, and their answers."""
    numbers = count()
    await asyncio.gather(*(_client(port, mix, numbers, total) for _ in range(CLIENTS)))


def resident(process: int) -> float:
    """Megabytes of a process that lie in memory."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def growth(folder: Path, warm_up: int, total: int) -> Row:
    """Memory after `total` requests over memory after the warm-up."""
    import uvloop

    mix = mixture(folder)
    with Server(folder, []) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask(server.port, mix, warm_up))
        before = resident(server.process.pid)
        runner.run(ask(server.port, mix, total))
        after = resident(server.process.pid)
    name = folder.resolve().parents[1].name
    return Row(f"serve {name}, {total} requests", f"after {warm_up}", after, before, 1.05, unit="MB")


def main() -> int:
    """Measure and print; exits with 1 when memory grows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rate", type=int, default=100, help="requests a second of the hour (default: 100)")
    asked = parser.parse_args()
    row = growth(asked.folder, WARM_UP, asked.rate * 3600)
    show([row])
    return int(row.bar is not None and row.ratio > row.bar)


if __name__ == "__main__":
    raise SystemExit(main())
