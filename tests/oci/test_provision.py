"""Packages and steps on a base image, by a real Docker engine; and what a Dockerfile may hold."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from modelspec import digest, render, resources
from modelspec.errors import ModelspecError
from modelspec.oci import engine as module
from modelspec.stage import Job
from modelspec.stages._containerize_options import Block
from modelspec.stages._provision_dockerfile import INSTALL, dockerfile
from modelspec.stages.provision import Provision
from tests.oci import layouts, scripted, services

CANARY = "c4nary-of-docker-login"
NASTY = (
    "$HOME ${PATH} $(id) `id`",
    "a\"b'c\\",
    "line\nRUN id\r\n",
    "<<EOF",
    "# syntax=x",
    "\\",
    "é\u2028\u202e\x1b[31m",
    "",
    " ",
    "--x=y",
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40) | st.sampled_from(NASTY)
PROGRAM = st.lists(TEXT, min_size=1, max_size=5).map(tuple)
PACKAGE = st.from_regex(r"[a-z0-9][a-z0-9+.-]{0,10}[a-z0-9+](=[A-Za-z0-9][A-Za-z0-9.+:~-]{0,9})?", fullmatch=True)


@given(st.lists(PACKAGE, max_size=4).map(tuple), st.lists(PROGRAM, min_size=1, max_size=4).map(tuple))
def test_a_dockerfile_holds_the_programs_and_nothing_else(
    packages: tuple[str, ...], steps: tuple[tuple[str, ...], ...]
) -> None:
    text = dockerfile("base:1", packages, steps)
    assert re.fullmatch(r"[A-Za-z0-9 ._/:@,=+%\[\]\"\\\n-]+", text), "a character that somebody could give a meaning"
    lines = text.split("\n")
    assert lines[:2] == ["FROM base:1", "USER 0:0"]
    assert lines[-1] == ""
    programs = [json.loads(line.removeprefix("RUN ")) for line in lines[2:-1]]
    assert [tuple(program) for program in programs[bool(packages) :]] == list(steps)
    if packages:
        assert programs[0][-len(packages) :] == list(packages)
        assert tuple(programs[0][2 : -len(packages)]) == INSTALL


@given(
    st.text(max_size=30) | st.sampled_from(["base:1\nRUN id", "a b", "$x", "--platform=x", "", "a AS b", "scratch #"])
)
def test_a_word_is_one_word_or_refused(name: str) -> None:
    with suppress(ValueError):
        text = dockerfile(name, (), (("true",),))
        assert text == f'FROM {name}\nUSER 0:0\nRUN ["true"]\n'
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*", name)


@pytest.mark.parametrize("value", [5, None, [], [1], {"a": 1}, "a b", "a\n", b"x"])
def test_what_has_no_form_in_a_dockerfile(value: object) -> None:
    with pytest.raises(ValueError, match="no form"):
        render._as_dockerfile(value)


@given(
    st.text(max_size=20)
    | st.sampled_from(["-y", "--", "a b", "a;id", "a$(id)", "foo-", "a=1 b", "../x", "a\n", "A", "a/b", "a=-1"])
)
def test_a_package_is_a_name_and_a_version(name: str) -> None:
    try:
        block = Block(builder="docker", apt=(name,))
    except ValidationError:
        return
    assert re.fullmatch(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+](=[A-Za-z0-9][A-Za-z0-9.+:~-]*)?", block.apt[0])


def test_a_template_that_adds_something_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docker").mkdir()
    true = (resources.folder("templates") / "docker" / "Dockerfile.j2").read_text()
    for added in ("ENV A=b\n", "RUN id\n", 'RUN ["id"]\n', "# syntax=x\n"):
        (tmp_path / "docker" / "Dockerfile.j2").write_text(true + added)
        monkeypatch.setattr(resources, "folder", lambda name: tmp_path)
        render._environment.cache_clear()
        with pytest.raises(ModelspecError) as caught:
            dockerfile("base:1", (), (("true",),))
        assert caught.value.diagnostics[0].code == "MS548"
    render._environment.cache_clear()


def refused(code: str) -> str:
    with pytest.raises(ModelspecError) as caught, module.connected():
        pass
    (problem,) = caught.value.diagnostics
    assert problem.code == code, problem
    assert problem.help
    return problem.message


def test_without_an_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert "no such socket" in refused("MS415")
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{services.free_port()}")
    assert "nobody answers" in refused("MS415")
    monkeypatch.setenv("DOCKER_HOST", "nonsense://")
    refused("MS415")


@pytest.mark.parametrize("version", ["1.12", "1.39"])
def test_an_engine_of_long_ago(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"ApiVersion": version, "Version": "1.0", "MinAPIVersion": "1.12"}).encode()
    with scripted.serving(lambda _: (200, {"Content-Type": "application/json"}, body)) as server:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{server.host}")
        refused("MS418")


def test_an_engine_that_may_not_be_used() -> None:
    if os.geteuid():
        pytest.skip("another user's socket takes root to make")
    services.need("setpriv")
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{folder}/docker.sock")
        Path(folder, "docker.sock").chmod(0o600)
        os.chown(f"{folder}/docker.sock", 65534, 65534)
        listening.listen()
        script = "from modelspec.oci.engine import connected\nwith connected(): pass"
        environment = {**os.environ, "DOCKER_HOST": f"unix://{folder}/docker.sock"}
        # Root without the right to open what is not its own.
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", sys.executable, "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert "MS416" in done.stderr, done.stderr


@pytest.fixture
def job(tmp_path: Path, base_tar: Path) -> Job:
    """A job with the base image as the stage `base` leaves it."""
    for name in ("in/base", "in/base-image", "tmp", "out"):
        (tmp_path / name).mkdir(parents=True)
    sha256 = digest.of_file(base_tar)
    (tmp_path / "in" / "base" / sha256).write_bytes(base_tar.read_bytes())
    layer = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "digest": f"sha256:{sha256}",
        "size": base_tar.stat().st_size,
    }
    config = {"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "User": "1000"},
              "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}  # fmt: skip
    (tmp_path / "in" / "base-image" / "linux-amd64.json").write_text(
        json.dumps({"config": config, "layers": [layer], "digest": ""})
    )
    return Job(root=tmp_path)


def stage(*steps: tuple[str, ...], apt: tuple[str, ...] = ()) -> Provision:
    return Provision(apt=apt, steps=steps, template="0" * 64)


def result(job: Job) -> dict[str, Any]:
    value = json.loads((job.root / "out" / "base-image" / "linux-amd64.json").read_bytes())
    assert isinstance(value, dict)
    return value


@pytest.mark.slow
def test_what_a_step_is_told_arrives_as_it_was_written(
    job: Job, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine)
    monkeypatch.setenv(
        "DOCKER_CONFIG", str(services.docker_config(tmp_path / "docker", "registry.example", "alice", CANARY))
    )
    write = "import json, os, sys; open('/argv', 'w').write(json.dumps([os.getuid(), *sys.argv[1:]]))"
    apt = ("ed",) if _debian_answers() else ()
    stage(("/usr/bin/python3", "-c", write, *NASTY), apt=apt).run(job)
    made = result(job)
    base, *new = made["layers"]
    assert base == json.loads((job.input("base-image") / "linux-amd64.json").read_bytes())["layers"][0]
    assert len(new) == 1 + len(apt)
    blobs = {path.name: path for path in (tmp_path / "out" / "base").iterdir()}
    assert set(blobs) == {layer["digest"][7:] for layer in made["layers"]}
    for layer, diff_id in zip(made["layers"], made["config"]["rootfs"]["diff_ids"], strict=True):
        assert digest.of_file(blobs[layer["digest"][7:]]) == layer["digest"][7:] == diff_id[7:]
    assert len(made["config"]["history"]) == len(made["layers"])
    assert made["config"]["config"]["User"] == "1000", "the steps are root's, the image is not"
    assert layouts.read(blobs[new[-1]["digest"][7:]], "argv") == json.dumps([0, *NASTY]).encode()
    if apt:
        assert layouts.read(blobs[new[0]["digest"][7:]], "bin/ed") or layouts.read(
            blobs[new[0]["digest"][7:]], "usr/bin/ed"
        )
    for layer in new:
        data = blobs[layer["digest"][7:]].read_bytes()
        assert CANARY.encode() not in data
    assert CANARY not in json.dumps(made)
    left = subprocess.run(
        ["docker", "-H", engine, "images", "-q", "modelspec-build*"], capture_output=True, text=True, check=True
    )
    assert left.stdout == ""


@pytest.mark.slow
def test_what_fails_in_the_engine_is_said(
    job: Job, engine: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine)
    with pytest.raises(ModelspecError) as caught:
        stage(("/usr/bin/python3", "-c", "print('about to fail'); raise SystemExit(7)")).run(job)
    (problem,) = caught.value.diagnostics
    assert problem.code == "MS547"
    assert "7" in problem.message
    assert "about to fail" in capsys.readouterr().out
    left = subprocess.run(
        ["docker", "-H", engine, "images", "-q", "modelspec-build*"], capture_output=True, text=True, check=True
    )
    assert left.stdout == ""


def _debian_answers() -> bool:
    with suppress(OSError), socket.create_connection(("deb.debian.org", 80), 5):
        return True
    return False
