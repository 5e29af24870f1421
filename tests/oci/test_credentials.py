"""What Docker's config has for a registry, and what is said of it: never the secret."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from modelspec.errors import ModelspecError
from modelspec.oci.credentials import Credentials, lookup

CANARY = "c4nary-s3cret"
HOST = "registry.example"


def config(folder: Path, **value: Any) -> dict[str, str]:
    (folder / "config.json").write_text(json.dumps(value))
    return {"DOCKER_CONFIG": str(folder), "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def auth(user: str = "alice", password: str = CANARY) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def helper(folder: Path, body: str, name: str = "docker-credential-test") -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def refused(code: str, host: str, environment: dict[str, str]) -> str:
    with pytest.raises(ModelspecError) as caught:
        lookup(host, environment)
    (problem,) = caught.value.diagnostics
    assert problem.code == code
    assert CANARY not in f"{problem} {caught.value!r} {caught.value.__cause__!r}"
    return problem.message


def test_no_config_is_no_password(tmp_path: Path) -> None:
    assert lookup(HOST, {"DOCKER_CONFIG": str(tmp_path / "none")}) is None


@pytest.mark.parametrize("key", [HOST, f"https://{HOST}", f"https://{HOST}/v1/"])
def test_a_password_in_the_file(key: str, tmp_path: Path) -> None:
    assert lookup(HOST, config(tmp_path, auths={key: auth(password="a:b")})) == Credentials("alice", "a:b")
    assert lookup("other.example", config(tmp_path, auths={key: auth()})) is None


def test_docker_hub_has_a_key_of_its_own(tmp_path: Path) -> None:
    found = lookup("docker.io", config(tmp_path, auths={"https://index.docker.io/v1/": auth()}))
    assert found == Credentials("alice", CANARY)


def test_an_identity_token(tmp_path: Path) -> None:
    found = lookup(HOST, config(tmp_path, auths={HOST: {"identitytoken": CANARY}}))
    assert found is not None
    assert found.identity == CANARY


def test_no_secret_in_what_is_printed() -> None:
    assert CANARY not in repr(Credentials("alice", CANARY, CANARY))


def test_a_helper_is_asked_with_the_registry_on_its_input(tmp_path: Path) -> None:
    helper(
        tmp_path, f'read host; [ "$1" = get ] && echo "{{\\"Username\\": \\"$host\\", \\"Secret\\": \\"{CANARY}\\"}}"'
    )
    assert lookup(HOST, config(tmp_path, credHelpers={HOST: "test"})) == Credentials(HOST, CANARY)
    assert lookup(HOST, config(tmp_path, credsStore="test")) == Credentials(HOST, CANARY)
    assert lookup("other.example", config(tmp_path, credHelpers={HOST: "test"})) is None


def test_a_helper_without_the_password_leaves_it_to_the_file(tmp_path: Path) -> None:
    helper(tmp_path, "echo credentials not found in native keychain; exit 1")
    found = lookup(HOST, config(tmp_path, credsStore="test", auths={HOST: auth()}))
    assert found == Credentials("alice", CANARY)


def test_a_token_of_a_helper(tmp_path: Path) -> None:
    helper(tmp_path, f'echo \'{{"Username": "<token>", "Secret": "{CANARY}"}}\'')
    found = lookup(HOST, config(tmp_path, credsStore="test"))
    assert found == Credentials("", identity=CANARY)


@pytest.mark.parametrize(("body", "said"), [
    (f"echo {CANARY}; exit 3", "ended with 3"), (f"echo {CANARY}", "no Username"), (f"echo '\"{CANARY}\"'", "no Username"),
])  # fmt: skip
def test_a_helper_that_fails(body: str, said: str, tmp_path: Path) -> None:
    helper(tmp_path, body)
    assert said in refused("MS414", HOST, config(tmp_path, credsStore="test"))


def test_a_helper_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelspec.oci.credentials._HELPER_S", 0.3)
    helper(tmp_path, "exec sleep 60")
    assert "within 0.3 s" in refused("MS414", HOST, config(tmp_path, credsStore="test"))


def test_a_helper_that_is_not_installed(tmp_path: Path) -> None:
    assert "not installed" in refused("MS414", HOST, config(tmp_path, credsStore="nowhere"))


@pytest.mark.parametrize("name", ["../../bin/sh", "a b", "test;id", "/bin/sh", "a" * 100, "test\n"])
def test_what_is_no_name_of_a_helper_is_not_run(name: str, tmp_path: Path) -> None:
    refused("MS417", HOST, config(tmp_path, credsStore=name))


@pytest.mark.parametrize("text", [f"{{{CANARY}", "[]", json.dumps({"auths": {HOST: {"auth": f"{CANARY}!"}}}), "\xff"])
def test_a_config_that_cannot_be_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    assert str(tmp_path) in refused("MS417", HOST, {"DOCKER_CONFIG": str(tmp_path)})
