"""Clients that send nonsense, send slowly, come in crowds, or come when the server is leaving."""

import asyncio
import json
import random
import signal
import socket
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.runtime.conftest import Running, Start, request

INFER = "/v2/models/line/infer"
BODY = json.dumps(request([[1, 2, 3]])).encode()


def raw(server: Running, data: bytes, seconds: float = 5) -> bytes:
    """Send bytes, say that no more come, and read until the server closes or is silent."""
    got = b""
    with socket.create_connection(server.address, timeout=seconds) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while part := client.recv(65536):
                got += part
        except (ConnectionError, TimeoutError):
            pass
    return got


def post(headers: bytes, body: bytes = BODY) -> bytes:
    """A request to infer with headers as they are."""
    return b"POST " + INFER.encode() + b" HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n\r\n" + body


LENGTH = b"Content-Length: %d" % len(BODY)
CHUNK = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)

MALFORMED = [
    # lengths
    *(post(b"Content-Length: " + value) for value in (b"-1", b"+5", b"0x10", b"1e3", b"", b" ", b"5,5", b"99999999999999999999999", b"1 2", b"\xb2", b"1\x00")),
    post(LENGTH + b"\r\n" + LENGTH), post(LENGTH + b"\r\nContent-Length: 3"), post(LENGTH + b", " + LENGTH),
    # a length and chunks, and other ways to smuggle
    post(LENGTH + b"\r\nTransfer-Encoding: chunked", CHUNK), post(b"Transfer-Encoding: chunked\r\n" + LENGTH, CHUNK),
    *(post(b"Transfer-Encoding: " + value, CHUNK) for value in (b"gzip", b"chunked, gzip", b"chunked, chunked", b"xchunked", b"identity", b"\x0bchunked", b"chunked\x00", b"chunked;a", b"")),
    post(b"Transfer-Encoding : chunked", CHUNK), post(b"Transfer_Encoding: chunked", CHUNK), post(b" Transfer-Encoding: chunked", CHUNK),
    post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", CHUNK), post(b"X: a\r\n Transfer-Encoding: chunked", CHUNK),
    # chunks
    *(post(b"Transfer-Encoding: chunked", body) for body in (
        b"zz\r\n", b"-1\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n", b"5\nhello\n0\n\n",
        b"5\r\nhelloXX0\r\n\r\n", b"5;a=\r\nhello\r\n0\r\n\r\n", b"\r\n", b"0\r\n", b"0\r\nA: b\r\n\r\n", b"0\r\nContent-Length: 5\r\n\r\n", b"5\r\nhe",
        b"1;" + b"a" * 70_000 + b"\r\nx\r\n0\r\n\r\n", b"0\r\n" + b"T: x\r\n" * 20_000 + b"\r\n", b"1\r\nx\r\n" * 3000,
    )),
    # headers
    *(post(LENGTH + b"\r\n" + line) for line in (
        b"a b: c", b": c", b"a", b"a\x00: c", b"a: c\x00", b"a: \x7f", b"\x80: c", b"a:\rb", b"a\n: c", b"\tb: c", b"()<>: c", b"a: b\nc: d",
        b"Expect: nothing", b"Upgrade: websocket\r\nConnection: Upgrade", b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: a",
        b"Inference-Header-Content-Length: 99999", b"Inference-Header-Content-Length: \xb9", b"Content-Encoding: gzip", b"Content-Type: \xff",
        b"X: " + b"a" * 40_000, b"\r\n".join(b"H%d: a" % n for n in range(9000)),
    )),
    # request lines
    *(line + b"\r\nHost: a\r\n\r\n" for line in (
        b"", b" ", b"GET", b"GET /", b"GET  / HTTP/1.1", b"GET / HTTP/9.9", b"GET / HTTP/1.1 ", b"GET / HTTP/0.9", b"GET / HTP/1.1", b"GET \xff HTTP/1.1",
        b"GET /\x00 HTTP/1.1", b"GET /%zz HTTP/1.1", b"GET /%00 HTTP/1.1", b"GET //v2 HTTP/1.1", b"GET http://a/v2 HTTP/1.1", b"GET * HTTP/1.1", b"OPTIONS * HTTP/1.1",
        b"CONNECT a:1 HTTP/1.1", b"get /v2 HTTP/1.1", b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0", b"GET /" + b"a" * 60_000 + b" HTTP/1.1", b"BREW / HTTP/1.1",
        b"GET /v2?" + b"a=b&" * 9000 + b" HTTP/1.1", b"GET /v2/models/line/../../x HTTP/1.1", b"GET /v2#x HTTP/1.1", b"TRACE / HTTP/1.1", b"GET /v2/health/live\tHTTP/1.1",
    )),
    b"\r\n" * 50, b"\x00" * 100, b"\n", b"GET /v2 HTTP/1.1\nHost: a\n\n", b"GET /v2 HTTP/1.1\r\n", b"a" * 100_000, b"GET /v2 HTTP/1.1\r\n\r\n" * 200,
    post(LENGTH, BODY[:-5]), post(LENGTH, BODY) * 50, post(LENGTH, BODY) + b"rubbish", post(LENGTH, b"x" * len(BODY)),
]  # fmt: skip
"""Requests that no client sends. Most are wrong; some only odd."""


def test_malformed_requests_leave_the_server_healthy(shared: Running) -> None:
    assert len(MALFORMED) >= 100
    for data in MALFORMED:
        for answer in raw(shared, data).split(b"HTTP/1.1 ")[1:]:
            assert answer[:3] in {b"200", b"400", b"404", b"405", b"408", b"413", b"415", b"431", b"100"}, (
                data[:200],
                answer,
            )
        assert shared.ask("POST", INFER, BODY)[0] == 200, data[:200]


def test_no_request_is_smuggled(shared: Running) -> None:
    """Where length and chunks disagree the connection ends: what follows is never read as a request."""
    inner = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"
    for headers, body in (
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n" + inner),
        (b"Content-Length: 5\r\nContent-Length: 0", b"12345" + inner),
        (b"Transfer-Encoding: xchunked", b"0\r\n\r\n" + inner),
        (b"Transfer-Encoding : chunked\r\nContent-Length: 5", b"0\r\n\r\n" + inner),
    ):
        assert raw(shared, post(headers, body)).count(b"HTTP/1.1 ") == 1


def test_random_damage_leaves_the_server_healthy(shared: Running) -> None:
    chance = random.Random(0)
    whole = post(LENGTH)
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(data))
            data[at : at + chance.choice((0, 1, 3))] = bytes(
                chance.randrange(256) for _ in range(chance.choice((0, 1, 2)))
            )
        raw(shared, bytes(data))
    assert shared.ask("POST", INFER, BODY)[0] == 200


def test_slow_clients(folder: Path, start: Start) -> None:
    """Headers, bodies, silence, empty lines: each has a deadline. A healthy client sees nothing of it."""
    server = start(folder, "--header-timeout=1", "--body-timeout=1", "--idle-timeout=1")

    async def slow(first: bytes, drop: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(first)
        got = asyncio.create_task(reader.read(-1))
        try:
            for _ in range(60):
                if got.done():
                    break
                writer.write(drop)
                await asyncio.sleep(0.1)
            return await asyncio.wait_for(got, 5)
        except ConnectionError:
            return b"reset"
        finally:
            writer.close()

    async def all_of_them() -> list[bytes]:
        kinds = ((b"", b""), (b"GET /v2 HTTP/1.1\r\n", b"a: b\r\n"), (post(LENGTH, b""), b" "), (b"", b"\r\n"),
                 (post(b"Transfer-Encoding: chunked", b""), b"1\r\n \r\n"), (b"GET /v2 HTTP/1.1\r\n\r\n", b"\r\n"))  # fmt: skip
        return await asyncio.gather(*(slow(first, drop) for first, drop in kinds for _ in range(20)))

    results: list[list[bytes]] = []
    crowd = threading.Thread(target=lambda: results.append(asyncio.run(all_of_them())))
    began = time.monotonic()
    crowd.start()
    while crowd.is_alive():
        asked = time.monotonic()
        assert server.ask("POST", INFER, BODY)[0] == 200
        assert time.monotonic() - asked < 2
    assert time.monotonic() - began < 8
    assert len(results[0]) == 120
    assert {answer[:12] for answer in results[0]} <= {b"HTTP/1.1 408", b"HTTP/1.1 200", b"reset", b""}


def test_a_client_that_does_not_read(folder: Path, start: Start) -> None:
    """It is cut off; what it did not take does not stay in memory."""
    server = start(folder, "--write-timeout=1")
    body = json.dumps(request([[1.2345678, 2.3456789, 3.4567891]] * 60_000)).encode()
    whole = post(b"Content-Length: %d" % len(body), body)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(1)
        client.connect(server.address)
        with pytest.raises(ConnectionError):
            flood(client, whole)
    assert server.ask("POST", INFER, BODY)[0] == 200


def flood(client: socket.socket, data: bytes) -> None:
    """Send again and again, and never read."""
    end = time.monotonic() + 15
    while time.monotonic() < end:
        with suppress(TimeoutError):
            client.sendall(data)


def test_an_answer_before_the_body(folder: Path, start: Start) -> None:
    """A refusal that needs no body leaves the connection in order, and is the only answer to a body that never ends."""
    server = start(folder, "--body-timeout=1", "--max-body=2000")
    elsewhere = post(LENGTH).replace(b"/infer", b"/other")
    answers = raw(server, elsewhere + b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"404", b"200"]
    endless = post(b"Content-Length: 3000", b"").replace(b"/infer", b"/other")
    broken = post(b"Transfer-Encoding: chunked", b"").replace(b"/infer", b"/other")
    for begin, more in (
        (endless, b"x"),
        (broken, b"1\r\nx\r\n"),
        (broken, b"zz\r\n"),
        (broken, b"7000\r\n" + b"x" * 0x7000),
    ):
        with socket.create_connection(server.address, timeout=10) as client:
            client.sendall(begin)
            time.sleep(0.1)
            client.sendall(more)
            got = b""
            with suppress(ConnectionError):
                while part := client.recv(65536):
                    got += part
            assert got.count(b"HTTP/1.1 ") == 1
            assert got.startswith(b"HTTP/1.1 404")


def test_too_many_connections(folder: Path, start: Start) -> None:
    server = start(folder, "--max-connections=5")
    crowd = [socket.create_connection(server.address, timeout=5) for _ in range(5)]
    time.sleep(0.2)
    with pytest.raises((ConnectionError, HTTPException)):
        server.ask("GET", "/v2")
    for each in crowd:
        each.close()
    time.sleep(0.2)
    assert server.ask("GET", "/v2")[0] == 200


def load(server: Running, counts: list[int], lost: list[str]) -> None:
    """Ask over one connection until told to go."""
    connection = HTTPConnection(*server.address, timeout=20)
    connection.connect()
    done = 0
    while True:
        try:
            connection.request("POST", INFER, BODY)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, HTTPException) as error:
            lost.append(repr(error))
            break
        done += 1
        if answer.status != 200 or b"[3.0,5.0,7.0]" not in body:
            lost.append(f"{answer.status} {body!r}")
        if answer.getheader("connection") == "close":
            break
    counts.append(done)


@pytest.mark.parametrize("moment", [0.2, 0.3, 0.4])
def test_no_accepted_request_is_lost(folder: Path, start: Start, moment: float) -> None:
    """SIGTERM under load: each client is told to go, none is cut off."""
    server = start(folder, "--drain-delay=0.3")
    lost: list[str] = []
    counts: list[int] = []
    clients = [threading.Thread(target=load, args=(server, counts, lost)) for _ in range(8)]
    for client in clients:
        client.start()
    time.sleep(moment)
    server.process.send_signal(signal.SIGTERM)
    for client in clients:
        client.join(20)
    assert lost == []
    assert len(counts) == 8
    assert min(counts) > 1
    assert server.stop() == 0


def test_begun_before_the_end(folder: Path, start: Start) -> None:
    """A request whose first bytes were there is read to its end and answered; an idle connection is closed."""
    server = start(folder)
    with (
        socket.create_connection(server.address, timeout=10) as begun,
        socket.create_connection(server.address, timeout=10) as idle,
    ):
        head = socket.create_connection(server.address, timeout=10)
        begun.sendall(post(LENGTH, BODY[:10]))
        head.sendall(post(LENGTH, b"")[:20])
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        time.sleep(0.3)
        assert idle.recv(10) == b""
        with pytest.raises(ConnectionError):
            socket.create_connection(server.address, timeout=5)
        begun.sendall(BODY[10:])
        head.sendall(post(LENGTH, BODY)[20:])
        for each in (begun, head):
            answer = each.makefile("rb").read()
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in answer
        head.close()
    assert server.stop() == 0
