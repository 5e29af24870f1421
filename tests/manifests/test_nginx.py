"""A real nginx in front of two real servers: one of them is killed under load, and no caller notices."""

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.manifests.conftest import tool, written
from tests.runtime.conftest import line, request, starter

PORT = 29443


def config(folder: Path, **nginx: Any) -> Path:
    """nginx.conf with all that it writes below a folder."""
    output = written(folder / "out", {"formats": ("nginx",), "nginx": nginx}, serve={"port": 8080}) / "nginx"
    text = (output / "nginx.conf").read_text().replace("/tmp/nginx", f"{folder}/nginx")
    (folder / "nginx.conf").write_text(text)
    return folder / "nginx.conf"


def test_nginx_takes_it(tmp_path: Path) -> None:
    tool("nginx")("-t", "-p", tmp_path, "-c", config(tmp_path, servers=("10.0.0.7:8080", "[::1]:8080")))


def test_nginx_takes_it_with_tls(tmp_path: Path) -> None:
    openssl = tool("openssl")
    files = {"certificate": str(tmp_path / "tls.crt"), "key": str(tmp_path / "tls.key")}
    openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-keyout",
        files["key"],
        "-out",
        files["certificate"],
    )
    text = config(tmp_path, servers=("10.0.0.7:8080",), tls=files, host="digits.example.com", listen=8443)
    assert "listen 8443 ssl" in text.read_text()
    tool("nginx")("-t", "-p", tmp_path, "-c", text)  # fmt: skip


def asked(path: str, body: str | None = None) -> int:
    """The status of one request through nginx."""
    connection = HTTPConnection("127.0.0.1", PORT, timeout=20)
    try:
        connection.request("GET" if body is None else "POST", path, body, {"content-type": "application/json"})
        with connection.getresponse() as answer:
            answer.read()
            return answer.status
    finally:
        connection.close()


@contextmanager
def running(folder: Path, **nginx: Any) -> Iterator[None]:
    path = config(folder, **nginx)
    tool("nginx")("-t", "-p", folder, "-c", path)
    process = subprocess.Popen(
        ["/usr/sbin/nginx", "-p", folder, "-c", path, "-g", "daemon off;"], stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            try:
                asked("/")
                break
            except OSError:
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
def test_a_server_that_is_killed_under_load_fails_no_request(tmp_path: Path) -> None:
    tool("nginx")
    ends = starter()
    begin = next(ends)
    place = line(tmp_path)
    servers = [begin(place), begin(place)]
    found: Counter[Any] = Counter()
    body, stop = json.dumps(request([[1, 2, 3]])), threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                found[asked("/v2/models/line/infer", body)] += 1
            except OSError as error:
                found[repr(error)] += 1

    try:
        addresses = tuple(f"127.0.0.1:{server.port}" for server in servers)
        with running(tmp_path, servers=addresses, listen=PORT, rate=100_000):
            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            time.sleep(1)
            servers[0].process.kill()
            time.sleep(2)
            stop.set()
            for thread in threads:
                thread.join()
        assert set(found) == {200}
        assert found[200] > 100
        handled = [server.ask("GET", "/metrics")[1].decode() for server in servers[1:]]
        assert 'modelspec_requests_total{code="200",route="infer"}' in handled[0]
    finally:
        list(ends)


@pytest.mark.slow
def test_only_the_protocol_is_reached_and_callers_are_limited(tmp_path: Path) -> None:
    tool("nginx")
    ends = starter()
    server = next(ends)(line(tmp_path))
    try:
        with running(tmp_path, servers=(f"127.0.0.1:{server.port}",), listen=PORT, rate=1):
            found = {path: asked(path) for path in ("/metrics", "/openapi.json", "/v2/health/ready", "/v2/health/live")}
            assert found == {"/metrics": 404, "/openapi.json": 404, "/v2/health/ready": 200, "/v2/health/live": 200}
            statuses = [asked("/v2/health/live") for _ in range(5)]
            assert 429 in statuses
    finally:
        list(ends)
