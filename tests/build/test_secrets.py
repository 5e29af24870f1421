"""A secret that a spec refers to is in nothing that a build reads, keeps, says or publishes; the server finds it, or does not start."""

from pathlib import Path

import pytest

from tests.build.conftest import Project
from tests.runtime.conftest import Start, starter
from tests.runtime.test_access import make

_CANARY = "canary-5d1c8f"
start = pytest.fixture(starter)
"""Servers; see tests/runtime."""


def serve(project: Project, block: str) -> None:
    head, _, _ = project.spec.read_text().partition("data:")
    project.spec.write_text(f"{head}targets: [{{device: cpu}}]\nserve: {block}\n")


def holding(folder: Path, secret: str) -> list[Path]:
    """Files below a folder that hold a text, or are called by it."""
    return [
        path for path in folder.rglob("*") if secret in str(path) or (path.is_file() and secret.encode() in path.read_bytes())
    ]  # fmt: skip


@pytest.mark.slow
def test_the_secret_is_found_nowhere(project: Project, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    key, line = make(_CANARY)
    hash_ = line.split()[1]
    env = {"TINY_KEYS": line}
    serve(project, "{auth: {api_keys: {env: TINY_KEYS}}}")
    said = project.build(env=env) + project.run("plan", "--format", "json", env=env).stdout
    said += project.run("inspect", str(project.dist / "cpu-fp32"), env=env).stdout
    keyed = {path: path.read_bytes() for path in sorted((project.cache / "v1" / "ac").rglob("*.json"))}
    assert project.build(env={"TINY_KEYS": "another"})
    assert keyed == {path: path.read_bytes() for path in sorted((project.cache / "v1" / "ac").rglob("*.json"))}
    for secret in (_CANARY, key, hash_):
        assert secret not in said
        assert not holding(project.folder, secret)
        assert not holding(project.cache, secret)
    assert holding(project.dist, "TINY_KEYS")  # the reference is there
    place = project.dist / "cpu-fp32"
    assert start(place, ready=False).process.wait(20) == 4
    monkeypatch.setenv("TINY_KEYS", line)
    server = start(place)
    assert server.ask("GET", "/v2")[0] == 401
    assert server.ask("GET", "/v2", None, {"Authorization": f"Bearer {key}"})[0] == 200
    server.stop()
    assert hash_ not in str(server.log)
    assert key not in str(server.log)


@pytest.mark.parametrize("value", [_CANARY, f"[{_CANARY}]", f"{{{_CANARY}: x}}", f"{{env: {_CANARY}}}"])  # fmt: skip
def test_a_secret_in_the_spec_is_not_repeated(project: Project, value: str) -> None:
    serve(project, f"{{auth: {{api_keys: {value}}}}}")
    for command in ("validate", "plan", "build"):
        for format_ in ("human", "concise", "json", "github", "sarif"):
            if command == "build" and format_ != "human":
                continue
            done = project.run(command, "--format", format_)
            assert done.returncode == 2
            assert _CANARY not in done.stdout + done.stderr, done.stderr
