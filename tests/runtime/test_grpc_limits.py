"""The limits and deadlines of HTTP hold over gRPC too, and a call that was taken is answered."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from modelspec.runtime.grpc_messages import CLASSES, SERVICE
from tests.runtime.conftest import Running, Start
from tests.runtime.test_access import make
from tests.runtime.test_grpc import CODE, call, infer
from tests.runtime.test_observe import heavy

HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
PING = b"\0\0\x08\x06\0\0\0\0\0" + b"12345678"


def slow() -> Any:
    """A request to the heavy model."""
    request = CLASSES["ModelInferRequest"](model_name="line")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
    request.raw_input_contents.append(np.full((1, 1), 4, np.float32).tobytes())
    return request


def outcome(address: str, request: Any, **options: Any) -> tuple[Any, Any]:
    """The status of a call, and what the client is to do: `pushback` or nothing."""
    try:
        call(address, "ModelInfer", request, **options)
    except grpc.RpcError as error:
        return error.code(), dict(error.trailing_metadata() or ()).get("grpc-retry-pushback-ms")
    return CODE.OK, None


def crowd(address: str, count: int) -> list[tuple[Any, Any]]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: outcome(address, slow()), range(count)))


def heard(server: Running, data: bytes, *, again: bytes = b"", seconds: float = 10) -> bytes:
    """What the server says until it hangs up, to bytes sent at once and bytes sent again and again."""
    host, _, port = server.grpc.rpartition(":")
    got, end = b"", time.monotonic() + seconds
    with socket.create_connection((host, int(port)), timeout=0.1) as client:
        client.sendall(data)
        while time.monotonic() < end:
            with suppress(TimeoutError):
                part = client.recv(65536)
                if not part:
                    return got
                got += part
            with suppress(OSError):
                client.sendall(again)
    raise AssertionError(f"not hung up: {got!r}")


def test_sizes(folder: Path, start: Start) -> None:
    server = start(folder, "--grpc-port=0", "--max-body=2000", "--max-headers=2000")
    assert outcome(server.grpc, infer(np.ones((1000, 3))))[0] is CODE.RESOURCE_EXHAUSTED
    assert outcome(server.grpc, infer([[1, 2, 3]]), metadata=[("a", "b" * 9000)])[0] is CODE.RESOURCE_EXHAUSTED
    assert outcome(server.grpc, infer([[1, 2, 3]]))[0] is CODE.OK


def test_a_full_queue(folder: Path, start: Start) -> None:
    heavy(folder)
    server = start(folder, "--grpc-port=0", "--queue=2", "--parallel=1")
    found = crowd(server.grpc, 10)
    assert {code for code, _ in found} == {CODE.OK, CODE.RESOURCE_EXHAUSTED}
    assert [code for code, _ in found].count(CODE.OK) >= 3
    assert {wait for code, wait in found if code is not CODE.OK} == {"1000"}


def test_too_many_calls(folder: Path, start: Start) -> None:
    """Those of both protocols count; who asks after the health is answered all the same."""
    heavy(folder)
    server = start(folder, "--grpc-port=0", "--max-requests=2", "--parallel=1")
    address, results = server.grpc, []
    waiting = threading.Thread(target=lambda: results.extend(crowd(address, 8)))
    waiting.start()
    refused = 0
    while waiting.is_alive():
        assert call(address, "ServerLive").live
        refused += server.ask("GET", "/v2")[0] == 503
    assert {code for code, _ in results} == {CODE.OK, CODE.RESOURCE_EXHAUSTED}
    assert refused
    assert server.ask("GET", "/v2")[0] == 200


def test_a_model_too_slow_for_its_deadline(folder: Path, start: Start) -> None:
    heavy(folder)
    server = start(folder, "--grpc-port=0", "--request-timeout=0.1", "--parallel=1")
    assert CODE.DEADLINE_EXCEEDED in {code for code, _ in crowd(server.grpc, 8)}
    assert call(server.grpc, "ServerLive").live


def test_a_client_that_does_not_wait(folder: Path, start: Start) -> None:
    """What it asked for does not count as answered."""
    heavy(folder)
    server = start(folder, "--grpc-port=0", "--parallel=1")
    address = server.grpc
    with grpc.insecure_channel(address) as channel:
        method = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        busy = [method.future(slow().SerializeToString(), timeout=20) for _ in range(4)]
        time.sleep(0.05)
        late = method.future(slow().SerializeToString(), timeout=0.05)
        assert late.code() is CODE.DEADLINE_EXCEEDED
        assert all(each.code() is CODE.OK for each in busy)
    server.stop()
    statuses = sorted(entry["status"] for entry in server.log if entry["event"] == "request")
    assert statuses == [200, 200, 200, 200, 499]


def test_a_message_that_does_not_come(folder: Path, tmp_path: Path, start: Start) -> None:
    """A deadline of its own, and no key, no wait."""
    key, entry = make("team-a")
    (tmp_path / "keys").write_text(entry)
    server = start(folder, "--grpc-port=0", "--body-timeout=0.5", f"--api-keys={tmp_path / 'keys'}")
    done = threading.Event()

    def silence() -> Iterator[bytes]:
        done.wait(20)
        yield b""

    with grpc.insecure_channel(server.grpc) as channel:
        for metadata, code in (
            ([("authorization", f"Bearer {key}")], CODE.DEADLINE_EXCEEDED),
            ([], CODE.UNAUTHENTICATED),
        ):
            began = time.monotonic()
            with pytest.raises(grpc.RpcError) as refused:
                channel.stream_unary(f"/{SERVICE}/ModelInfer")(silence(), timeout=10, metadata=metadata)
            assert refused.value.code() is code
            assert time.monotonic() - began < 5
        done.set()
        with pytest.raises(grpc.RpcError) as refused:
            channel.stream_unary(f"/{SERVICE}/ServerLive")(iter(()), timeout=10)
        assert refused.value.code() is CODE.INVALID_ARGUMENT


def test_connections_that_ping_or_lie_idle(folder: Path, start: Start) -> None:
    server = start(folder, "--grpc-port=0", "--idle-timeout=1", "--header-timeout=1")
    assert b"too_many_pings" in heard(server, HELLO, again=PING * 5)
    assert b"connection idle" in heard(server, HELLO)
    heard(server, b"")  # no greeting
    assert call(server.grpc, "ServerLive").live


def test_the_age_of_a_connection(folder: Path, start: Start) -> None:
    """It is asked to come anew; its calls do not fail of that."""
    server = start(folder, "--grpc-port=0", "--connection-age=1", "--grace=1")
    assert b"max_age" in heard(server, HELLO)
    end = time.monotonic() + 3
    with grpc.insecure_channel(server.grpc) as channel:
        while time.monotonic() < end:
            assert call(channel, "ModelInfer", infer([[1, 2, 3]])).outputs
    peers = {entry["client"] for entry in server.log if entry["event"] == "request"}
    assert len(peers) > 1


def test_too_many_connections(folder: Path, start: Start) -> None:
    server = start(folder, "--grpc-port=0", "--max-connections=3")
    host, _, port = server.grpc.rpartition(":")
    held = [socket.create_connection((host, int(port)), timeout=5) for _ in range(3)]
    for each in held:
        each.sendall(HELLO)
        assert each.recv(100)
    assert outcome(server.grpc, infer([[1, 2, 3]]))[0] is CODE.UNAVAILABLE
    for each in held:
        each.close()
    time.sleep(0.2)
    assert outcome(server.grpc, infer([[1, 2, 3]]))[0] is CODE.OK


def test_what_waits_is_answered_after_the_signal(folder: Path, start: Start) -> None:
    heavy(folder)
    server = start(folder, "--grpc-port=0", "--parallel=1")
    address, results = server.grpc, []
    waiting = threading.Thread(target=lambda: results.extend(crowd(address, 6)))
    waiting.start()
    time.sleep(0.3)
    assert server.stop() == 0
    waiting.join()
    answered = [entry["status"] for entry in server.log if entry["event"] == "request"]
    assert set(answered) == {200}
    assert [code for code, _ in results].count(CODE.OK) == len(answered) >= 2
