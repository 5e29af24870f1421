"""API keys and certificates: who may, who may not, and that no key is written anywhere."""

import datetime as dt
import json
import socket
import ssl
import subprocess
import sys
from contextlib import suppress
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
import trustme

from modelspec.runtime import references
from modelspec.runtime.auth import Keys
from modelspec.runtime.errors import RequestError, ServeError
from modelspec.runtime.references import Reference, mounted
from modelspec.runtime.settings import parse
from tests.runtime.conftest import ROOT, Start, request

INFER = "/v2/models/line/infer"


def make(name: str, *roles: str) -> tuple[str, str]:
    """A key and its line, as the command prints them."""
    done = subprocess.run(
        [sys.executable, "-m", "modelspec.runtime.auth", name, *roles],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    key, line = (row.partition(": ")[2] for row in done.stdout.splitlines())
    return key, line


def test_keys(folder: Path, tmp_path: Path, start: Start) -> None:
    (key, line), (scraper, other) = make("team-a"), make("prometheus", "metrics")
    place = tmp_path / "keys.txt"
    place.write_text(f"# who may call\n{line}\n\n{other}\n")
    server = start(folder, f"--api-keys={place}")
    body = request([[1, 2, 3]])

    def ask(token: str | None, method: str = "POST", path: str = INFER) -> int:
        headers = {} if token is None else {"Authorization": token}
        return server.ask(method, path, body if method == "POST" else None, headers)[0]

    assert ask(f"Bearer {key}") == 200
    assert ask(f"bearer  {key}") == 200
    for wrong in (None, "", "Bearer", "Bearer ", f"Bearer {key}x", f"Bearer {key[:-1]}", f"Basic {key}", key, "Bearer \xff", line.split()[1], f"Bearer {line.split()[1]}", "Bearer " + "a" * 9000):  # fmt: skip
        assert ask(wrong) == 401, wrong
    assert ask(f"Bearer {scraper}") == 403
    assert ask(f"Bearer {scraper}", "GET", "/metrics") == 200
    assert ask(f"Bearer {key}", "GET", "/metrics") == 200
    assert ask(None, "GET", "/v2/health/ready") == 200
    for path in ("/v2", "/openapi.json", "/metrics", "/unknown", "/v2/models/line"):
        assert ask(None, "GET", path) == 401
    assert server.ask("GET", "/v2")[2]["www-authenticate"] == "Bearer"
    assert "securitySchemes" in server.ask("GET", "/openapi.json", None, {"Authorization": f"Bearer {key}"})[1]["components"]  # fmt: skip
    server.stop()
    lines = [entry for entry in server.log if entry["event"] == "request"]
    assert {entry["caller"] for entry in lines} == {"team-a", "prometheus", None}
    assert not any(secret in str(server.log) for secret in (key, scraper, line.split()[1]))


@pytest.mark.parametrize("text", ["", "# none", "name short", f"a {'0' * 64}\na {'1' * 64}", f"a {'0' * 64} root", f"a b {'0' * 64}", f"a {'G' * 64}"])  # fmt: skip
def test_wrong_files_of_keys(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(ServeError):
        Keys.read(Reference.file(str(tmp_path / "keys")))


def test_every_key_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time to refuse does not tell how near a guess was, nor which key it is."""
    import hmac

    made = [make(f"k{number}") for number in range(3)]
    (tmp_path / "keys").write_text("\n".join(line for _, line in made))
    keys = Keys.read(Reference.file(str(tmp_path / "keys")))
    count = 0
    real = hmac.compare_digest

    def counted(left: bytes, right: bytes) -> bool:
        nonlocal count
        count += 1
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    for token, name in [(key, f"k{number}") for number, (key, _) in enumerate(made)]:
        assert keys.caller(f"Bearer {token}", "infer") == name
    with pytest.raises(RequestError, match="a key is needed"):
        keys.caller("Bearer wrong", "infer")
    assert count == 12


def test_tls_and_client_certificates(folder: Path, tmp_path: Path, start: Start) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    cert = authority.issue_cert("127.0.0.1")
    cert.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = start(folder, f"--tls-cert={tmp_path / 'server.pem'}", f"--tls-client-ca={tmp_path / 'ca.pem'}", "--header-timeout=1")  # fmt: skip
    assert server.wait_for("listening")["url"].startswith("https://")

    def ask(certificate: trustme.LeafCert | None, version: ssl.TLSVersion | None = None) -> int:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        if version:
            context.minimum_version = context.maximum_version = version
        if certificate:
            certificate.configure_cert(context)
        connection = HTTPSConnection("127.0.0.1", server.port, context=context, timeout=10)
        try:
            connection.request("GET", "/v2")
            return connection.getresponse().status
        finally:
            connection.close()

    assert ask(authority.issue_cert("client@example.org", common_name="team-b")) == 200
    assert ask(authority.issue_cert("a@example.org", common_name="team-b"), ssl.TLSVersion.TLSv1_2) == 200
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    expired = authority.issue_cert("client@example.org", not_before=past - dt.timedelta(days=1), not_after=past)
    for refused in (None, stranger.issue_cert("client@example.org"), expired):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(refused)
    with socket.create_connection(server.address, timeout=10) as client:
        client.sendall(b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"HTTP/1.1 200" not in client.recv(1000)
    # A handshake has the deadline of the headers.
    with socket.create_connection(server.address, timeout=10) as silent, suppress(ConnectionError):
        assert silent.recv(10) == b""
    assert ask(authority.issue_cert("client@example.org", common_name="team-b")) == 200
    server.stop()
    assert {entry["caller"] for entry in server.log if entry["event"] == "request"} == {"team-b"}


def test_wrong_certificates_end_the_start(folder: Path, tmp_path: Path, start: Start) -> None:
    (tmp_path / "bad.pem").write_text("nothing")
    assert start(folder, f"--tls-cert={tmp_path / 'bad.pem'}", ready=False).process.wait(20) == 4
    assert start(folder, f"--tls-key={tmp_path / 'bad.pem'}", ready=False).process.wait(20) == 2
    assert start(folder, f"--api-keys={tmp_path / 'none'}", ready=False).process.wait(20) == 4


def refer(folder: Path, **references: dict[str, str]) -> None:
    """Write into runtime.json where the secrets lie."""
    runtime = json.loads((folder / "runtime.json").read_text())
    (folder / "runtime.json").write_text(json.dumps(runtime | {"serve": references}))


def test_keys_from_the_environment(folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was built to ask for keys does not start without them, and nothing on the way holds one."""
    refer(folder, api_keys={"env": "LINE_KEYS"})
    monkeypatch.delenv("LINE_KEYS", raising=False)
    server = start(folder, ready=False)
    assert server.process.wait(20) == 4
    assert "the environment variable LINE_KEYS is not set; --api-keys FILE" in server.wait_for("failed")["reason"]
    for wrong in ("", "no line of keys"):
        monkeypatch.setenv("LINE_KEYS", wrong)
        assert start(folder, ready=False).process.wait(20) in {2, 4}
    with pytest.raises(SystemExit, match="2"):
        parse([str(folder), "--api-keys="])
    key, entry = make("team-a")
    monkeypatch.setenv("LINE_KEYS", f"{entry}\n")
    server = start(folder)
    for token, status in ((f"Bearer {key}", 200), ("Bearer wrong", 401), (None, 401)):
        headers = {"Authorization": token} if token else {}
        assert server.ask("POST", INFER, request([[1, 2, 3]]), headers)[0] == status
    assert server.stop() == 0
    assert not any(secret in str(server.log) for secret in (key, entry.split()[1]))


def test_keys_from_a_file(folder: Path, tmp_path: Path, start: Start) -> None:
    (key, entry), (_, other) = make("team-a"), make("team-b")
    (tmp_path / "keys").write_text(entry)
    (tmp_path / "others").write_text(other)
    refer(folder, api_keys={"file": str(tmp_path / "keys")})
    headers = {"Authorization": f"Bearer {key}"}
    assert start(folder).ask("GET", "/v2", None, headers)[0] == 200
    assert start(folder, f"--api-keys={tmp_path / 'others'}").ask("GET", "/v2", None, headers)[0] == 401


def test_keys_of_the_cluster(folder: Path, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    refer(folder, api_keys={"secret": "line-keys", "key": "keys.txt"})
    server = start(folder, ready=False)
    assert server.process.wait(20) == 4
    reason = server.wait_for("failed")["reason"]
    assert "/run/secrets/modelspec/line-keys/keys.txt cannot be read" in reason
    assert "--api-keys FILE" in reason
    monkeypatch.setattr(references, "MOUNT", str(tmp_path))
    key, entry = make("team-a")
    (tmp_path / "line-keys").mkdir()
    Path(mounted("line-keys", "keys.txt")).write_text(entry)
    keys = Keys.read(Reference.parse({"secret": "line-keys", "key": "keys.txt"}))
    assert keys.caller(f"Bearer {key}", "infer") == "team-a"


@pytest.mark.parametrize("value", ["hunter2", {"env": "hunter 2"}, {"file": "hunter2"}, {"file": "/a/../hunter2"}, {"secret": "hunter2"}, {"secret": "hunter2", "key": "../x"}, {"hunter2": "x"}, ["hunter2"], {"env": "A", "file": "/hunter2"}])  # fmt: skip
def test_a_reference_that_is_none_is_not_repeated(folder: Path, value: Any, capsys: pytest.CaptureFixture[str]) -> None:
    refer(folder, api_keys=value)
    with pytest.raises(SystemExit, match="2"):
        parse([str(folder)])
    said = capsys.readouterr().err
    assert "api_keys, in runtime.json, must be {env: NAME}" in said
    assert "hunter2" not in said


def test_certificates_by_reference(folder: Path, tmp_path: Path, start: Start) -> None:
    authority = trustme.CA()
    cert = authority.issue_cert("127.0.0.1")
    cert.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    cert.private_key_pem.write_to_path(tmp_path / "tls.key")
    refer(folder, tls_cert={"file": str(tmp_path / "tls.crt")}, tls_key={"file": str(tmp_path / "tls.key")})
    context = ssl.create_default_context()
    authority.configure_trust(context)
    connection = HTTPSConnection("127.0.0.1", start(folder).port, context=context, timeout=10)
    connection.request("GET", "/v2")
    assert connection.getresponse().status == 200
    connection.close()
    refer(folder, tls_cert={"secret": "line-tls", "key": "tls.crt"})
    assert start(folder, ready=False).process.wait(20) == 4
    refer(folder, tls_cert={"env": "LINE_TLS"})
    assert start(folder, ready=False).process.wait(20) == 2
