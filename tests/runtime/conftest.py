"""Published folders made in a moment, and servers over them on loopback."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

ROOT = Path(__file__).parents[2]
Folder = Callable[..., Path]


def linear(path: Path, *, batch: int | str = "batch") -> None:
    """y = 2x + 1, three numbers wide."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["d"]), helper.make_node("Add", ["d", "one"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
        [helper.make_tensor("two", TensorProto.FLOAT, [], [2.0]), helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def publish(
    folder: Path,
    signature: Mapping[str, Any],
    golden: tuple[Mapping[str, Any], Mapping[str, Any]],
    session: Mapping[str, Any] | None = None,
    task: str | None = None,
) -> None:
    """The files that a build writes beside model.onnx."""
    runtime = {
        "formatVersion": 1, "runtime": "onnxruntime", "device": "cpu", "precision": "fp32", "file": "model.onnx",
        "providers": ["CPUExecutionProvider"], "session": session or {"intra_op_num_threads": 1},
    }  # fmt: skip
    (folder / "runtime.json").write_text(json.dumps(runtime))
    (folder / "signature.json").write_text(json.dumps(signature))
    if task:
        (folder / "metrics.json").write_text(json.dumps({"stages": {"evaluate": {"task": task}}}))
    (folder / "golden").mkdir(exist_ok=True)
    for name, arrays in zip(("inputs", "outputs"), golden, strict=True):
        np.savez(folder / "golden" / f"{name}.npz", **arrays)


def pair(folder: Path) -> None:
    """Text and numbers, handed through."""
    tensors = {"text": (TensorProto.STRING, "string", "same"), "number": (TensorProto.INT64, "int64", "more")}
    sides: dict[str, list[Any]] = {"inputs": [], "outputs": []}
    nodes, inputs, outputs = [], [], []
    for name, (kind, dtype, out) in tensors.items():
        inputs.append(helper.make_tensor_value_info(name, kind, ["n"]))
        outputs.append(helper.make_tensor_value_info(out, kind, ["n"]))
        nodes.append(helper.make_node("Identity", [name], [out]))
        sides["inputs"].append({"name": name, "dtype": dtype, "shape": ["n"]})
        sides["outputs"].append({"name": out, "dtype": dtype, "shape": ["n"]})
    graph = helper.make_graph(nodes, "pair", inputs, outputs)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )
    text, number = np.array(["a", "b"]), np.array([1, 2])
    publish(folder, sides, ({"text": text, "number": number}, {"same": text, "more": number}))


SIGNATURE = {
    "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", 3], "range": [0, 10]}],
    "outputs": [{"name": "y", "dtype": "float32", "shape": ["batch", 3]}],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A published model: y = 2x + 1."""
    return line(tmp_path)


def line(root: Path) -> Path:
    """Publish the linear model below a folder."""
    place = root / "dist" / "line" / "1.2.0+b" / "cpu-fp32"
    place.mkdir(parents=True)
    linear(place / "model.onnx")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    publish(place, SIGNATURE, ({"x": x}, {"y": 2 * x + 1}))
    return place


@dataclass
class Running:
    """A server that was started, and what it has said so far."""

    process: "subprocess.Popen[str]"
    log: list[dict[str, Any]] = field(default_factory=list)

    def wait_for(self, event: str, seconds: float = 20) -> dict[str, Any]:
        """The first line of the log that tells of an event."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in list(self.log):
                if line["event"] == event:
                    return line
            if self.process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(0.01)
        raise AssertionError(f"no {event!r} in {self.log}, status {self.process.poll()}")

    def start(self) -> None:
        """Read its log in a thread, so that it never waits for us."""

        def read() -> None:
            assert self.process.stderr is not None
            with self.process.stderr as stream:
                for line in stream:
                    self.log.append(json.loads(line))

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()

    @property
    def port(self) -> int:
        line = self.wait_for("listening")
        return int(line["url"].rpartition(":")[2])

    @property
    def grpc(self) -> str:
        """The address for gRPC."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            for line in list(self.log):
                if line.get("protocol") == "grpc":
                    return f"127.0.0.1:{line['port']}"
            time.sleep(0.01)
        raise AssertionError(self.log)

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body (parsed when it is JSON) and headers."""
        connection = HTTPConnection(*self.address, timeout=20)
        try:
            raw = json.dumps(body) if isinstance(body, dict | list) else body
            connection.request(method, path, raw, dict(headers or {}))
            answer = connection.getresponse()
            text, found = answer.read(), {key.lower(): value for key, value in answer.getheaders()}
        finally:
            connection.close()
        parsed = json.loads(text) if text and found.get("content-type") == "application/json" else text
        return answer.status, parsed, found

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        self._reader.join(10)
        return status


Start = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a server: `start(folder, "--queue=3")`; ready when it returns, unless `ready=False`."""
    yield from starter()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server over the linear model for all tests of a file that only ask."""
    for begin in starter():
        server = begin(line(tmp_path_factory.mktemp("shared")))
        yield server
        assert server.ask("GET", "/v2/health/ready")[0] == 200


def starter() -> Iterator[Start]:
    """What starts servers, and ends them."""
    started: list[Running] = []

    def begin(folder: Path, *options: str, ready: bool = True) -> Running:
        command = [sys.executable, "-m", "modelspec.runtime", str(folder), "--port=0", "--drain-delay=0", *options]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        running = Running(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env))
        started.append(running)
        running.start()
        if ready:
            running.wait_for("ready")
        return running

    yield begin
    for running in started:
        running.process.kill()
        running.process.wait()


def request(x: list[Any], **changes: Any) -> dict[str, Any]:
    """A request to the linear model."""
    return {"inputs": [{"name": "x", "shape": [len(x), 3], "datatype": "FP32", "data": x, **changes}]}
