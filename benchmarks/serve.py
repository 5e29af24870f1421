"""The server against the bare session that it wraps: `python -m benchmarks.serve dist/<name>/<version>/<target> ...`

Client and server have a core each, and the bare loop has the server's. One row a request, as bytes, at 1, 8 and 64
connections. The rounds take turns, so that what else the machine does falls on both.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Row, show
from modelspec.runtime.processing import text_input
from modelspec.runtime.tensors import to_bytes

CLIENTS = (1, 8, 64)
CORES = sorted(os.sched_getaffinity(0))
CLIENT, SERVER = CORES[0], CORES[-1]
KINDS = {"float32": "FP32", "int64": "INT64", "int32": "INT32", "string": "BYTES"}

BARE = """
import os, sys, time, numpy, onnxruntime
os.sched_setaffinity(0, {int(sys.argv[2])})
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx", options, providers=["CPUExecutionProvider"])
inputs = {name: array[:1] for name, array in numpy.load(sys.argv[4]).items()}
for _ in range(20): session.run(None, inputs)
count, end = 0, time.perf_counter() + float(sys.argv[3])
while time.perf_counter() < end:
    session.run(None, inputs)
    count += 1
print(float(sys.argv[3]) / count)
"""


def bare(folder: Path, seconds: float) -> float:
    """Seconds a run of the session alone; of a model that takes text, on tokens made beforehand."""
    with tempfile.NamedTemporaryFile(suffix=".npz") as inputs:
        np.savez(inputs, **own_inputs(folder))
        inputs.flush()
        command = [sys.executable, "-c", BARE, str(folder), str(SERVER), str(seconds), inputs.name]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def own_inputs(folder: Path) -> dict[str, Any]:
    """One row of the golden inputs, as the model itself takes it."""
    read = text_input(json.loads((folder / "runtime.json").read_text()), folder)
    arrays = {name: array[:1] for name, array in np.load(folder / "golden" / "inputs.npz").items()}
    return read(arrays) if read else arrays


def request(folder: Path) -> bytes:
    """One row of the golden inputs, as a whole HTTP request with binary tensors."""
    signature = json.loads((folder / "signature.json").read_text())
    arrays = dict(np.load(folder / "golden" / "inputs.npz"))
    inputs, raw = [], b""
    for tensor in signature["inputs"]:
        array = arrays[tensor["name"]][:1]
        part = to_bytes(array)
        sizes = {"binary_data_size": len(part)}
        inputs.append({"name": tensor["name"], "datatype": KINDS[tensor["dtype"]], "shape": array.shape, "parameters": sizes})  # fmt: skip
        raw += part
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    return (
        b"POST /v2/models/bench/infer HTTP/1.1\r\nHost: bench\r\nContent-Type: application/octet-stream\r\n"
        b"Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n" % (len(head), len(head) + len(raw))
    ) + head + raw  # fmt: skip


def as_json(folder: Path, *, path: str, bare: bool) -> bytes:
    """The same row as JSON: an Open Inference request, or the bare lists that BentoML takes."""
    signature = json.loads((folder / "signature.json").read_text())
    arrays = {name: array[:1] for name, array in np.load(folder / "golden" / "inputs.npz").items()}
    entries = [
        {"name": t["name"], "datatype": KINDS[t["dtype"]], "shape": arrays[t["name"]].shape, "data": arrays[t["name"]].tolist()}
        for t in signature["inputs"]
    ]  # fmt: skip
    plain = {name: array.tolist() for name, array in own_inputs(folder).items()}
    body = json.dumps({"inputs": plain if bare else entries}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Bentoml:
    """BentoML on the same core, until the block ends."""

    def __init__(self, venv: Path, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        command = [
            str(venv / "bin" / "bentoml"),
            "serve",
            "bentoml_service:Bench",
            "--host=127.0.0.1",
            f"--port={self.port}",
        ]
        env = {
            **os.environ,
            "BENCH_MODEL": str((folder / "model.onnx").resolve()),
            "BENTOML_DO_NOT_TRACK": "1",
            "PYTHONPATH": "",
        }
        self.process = subprocess.Popen(
            ["taskset", "-c", str(SERVER), *command], cwd=Path(__file__).parent, env=env, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2):
                    return
            except OSError:
                time.sleep(0.2)
        raise SystemExit("BentoML did not become ready")

    def __enter__(self) -> "Bentoml":
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(60)


def beside_bentoml(venv: Path, folder: Path, runs: int, seconds: float) -> list[Row]:
    """Both with JSON; only one of the two is busy at a time."""
    ours: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    theirs: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    first = as_json(folder, path="/v2/models/bench/infer", bare=False)
    second = as_json(folder, path="/infer", bare=True)
    with Server(folder, []) as server, Bentoml(venv, folder) as other:
        for _ in range(runs):
            for clients in CLIENTS:
                ours[clients].append(load(server.port, first, clients, seconds)[0])
                theirs[clients].append(load(other.port, second, clients, seconds)[0])
    name = folder.resolve().parents[1].name
    found = []
    for clients in CLIENTS:
        first_ms, second_ms = (statistics.median(side[clients]) * 1e3 for side in (ours, theirs))
        found.append(Row(f"serve {name}, {clients} clients, JSON", "BentoML", first_ms, second_ms, unit="ms"))
    return found


class Server:
    """A server on its core, until the block ends."""

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        command = [sys.executable, "-m", "modelspec.runtime", str(folder), "--name=bench", "--port=0", "--parallel=1", "--drain-delay=0"]  # fmt: skip
        self.process = subprocess.Popen(
            ["taskset", "-c", str(SERVER), *command, "--audit=/dev/null", *options], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        self.port = 0
        for line in self.process.stderr:
            said = json.loads(line)
            if said["event"] == "listening":
                self.port = int(said["url"].rpartition(":")[2])
            if said["event"] == "ready":
                break
        else:
            raise SystemExit(f"the server of {folder} did not become ready")

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)


class Client(asyncio.Protocol):
    """Sends the next request when an answer is whole."""

    def __init__(self, data: bytes, times: list[float]) -> None:
        self.data, self.times = data, times
        self.got, self.since, self.stopped = b"", 0.0, False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._send()

    def _send(self) -> None:
        self.since = time.perf_counter()
        self.transport.write(self.data)

    def data_received(self, data: bytes) -> None:
        self.got += data
        head, found, body = self.got.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        assert head.startswith(b"HTTP/1.1 200"), self.got
        self.times.append(time.perf_counter() - self.since)
        self.got = b""
        if not self.stopped:
            self._send()


async def _load(port: int, data: bytes, clients: int, seconds: float) -> list[float]:
    loop, times = asyncio.get_running_loop(), list[float]()
    made = [await loop.create_connection(lambda: Client(data, times), "127.0.0.1", port) for _ in range(clients)]
    await asyncio.sleep(seconds / 4)  # warm
    times.clear()
    await asyncio.sleep(seconds)
    found = list(times)
    for transport, client in made:
        client.stopped = True
        transport.abort()
    return found


def load(port: int, data: bytes, clients: int, seconds: float) -> tuple[float, float]:
    """Seconds a request at full load, and the 99th percentile of the time to an answer."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        times = runner.run(_load(port, data, clients, seconds))
    return seconds / len(times), statistics.quantiles(times, n=100)[98]


def rows(folder: Path, runs: int, seconds: float, options: Sequence[str]) -> list[Row]:
    """One row for each number of clients."""
    data, alone = request(folder), []
    served: dict[int, list[tuple[float, float]]] = {clients: [] for clients in CLIENTS}
    with Server(folder, options) as server:
        for _ in range(runs):
            alone.append(bare(folder, seconds))
            for clients in CLIENTS:
                served[clients].append(load(server.port, data, clients, seconds))
    name = folder.resolve().parents[1].name
    base, found = statistics.median(alone) * 1e3, []
    for clients, figures in served.items():
        each, late = (statistics.median(column) * 1e3 for column in zip(*figures, strict=True))
        against = f"bare session; p99 {late:.2f} ms"
        found.append(Row(f"serve {name}, {clients} clients, per request", against, each, base, unit="ms"))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement (default: 2)")
    parser.add_argument("--batch-size", type=int, default=1, help="of the server (default: 1)")
    parser.add_argument(
        "--bentoml", type=Path, metavar="VENV", help="an environment with bentoml and onnxruntime: compare"
    )
    asked = parser.parse_args()
    os.sched_setaffinity(0, {CLIENT})
    for folder in asked.folders:
        found = rows(folder, asked.runs, asked.seconds, [f"--batch-size={asked.batch_size}"])
        show(found)
        for row in found:
            print(f"{row.what}: {row.other / row.value:.2f}x the throughput of the bare session")
        if asked.bentoml:
            show(beside_bentoml(asked.bentoml, folder, asked.runs, asked.seconds))


if __name__ == "__main__":
    main()
