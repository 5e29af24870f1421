"""Files from elsewhere, in builds run as a user runs them, from a real server on loopback."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelspec import digest
from tests.build.conftest import Project
from tests.build.server import Served, Server, serving

MODEL = "artifact: model.onnx"
TEST = "path: test.npz"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def remote(uri: str, data: bytes) -> str:
    return f'{{uri: "{uri}", sha256: "{digest.of_bytes(data)}"}}'


def fetch_model(project: Project, server: Server, **how: object) -> bytes:
    """Serve the model of the project, and have the spec name it there."""
    data = (project.folder / "model.onnx").read_bytes()
    project.edit(MODEL, "artifact: " + remote(server.put("model.onnx", data, **how), data))
    (project.folder / "model.onnx").unlink()
    return data


def fetch_test(project: Project, server: Server) -> bytes:
    data = (project.folder / "test.npz").read_bytes()
    project.edit(TEST, "path: " + remote(server.put("sets/test.npz", data), data))
    (project.folder / "test.npz").unlink()
    return data


def states(project: Project) -> dict[str, str]:
    plan = project.run("plan", "--format", "json")
    assert plan.returncode == 0, plan.stderr
    return {action["label"]: action["state"] for action in json.loads(plan.stdout)["actions"]}


def blob(project: Project, sha256: str) -> Path:
    return project.cache / "v1" / "cas" / "sha256" / sha256[:2] / sha256


def test_the_result_is_that_of_local_files_and_a_second_build_asks_for_nothing(
    project: Project, server: Server
) -> None:
    project.build()
    local = (project.dist / "checksums.txt").read_text()
    fetch_model(project, server)
    fetch_test(project, server)
    shutil.rmtree(project.cache)
    project.build()
    assert (project.dist / "checksums.txt").read_text() == local
    assert sorted(server.asked) == [("/model.onnx", ""), ("/sets/test.npz", "")]
    assert "nothing to do" in project.build()
    assert len(server.asked) == 2
    assert not list((project.cache / "v1" / "partial").iterdir())


def test_the_lock_names_the_address(project: Project, server: Server) -> None:
    data = fetch_model(project, server)
    project.build()
    line = f'  "{server.base}/model.onnx": "sha256:{digest.of_bytes(data)}"\n'
    assert line in (project.folder / "model.lock").read_text()
    project.build("--locked")


def test_bytes_that_nobody_takes_are_not_brought_again(project: Project, server: Server) -> None:
    data = fetch_model(project, server)
    project.build()
    blob(project, digest.of_bytes(data)).unlink()
    assert states(project)["fetch:artifact"] == "not needed"
    assert project.run("plan", "--exit-code").returncode == 0
    assert "nothing to do" in project.build("--offline")
    assert len(server.asked) == 1


def test_lost_bytes_that_are_needed_again_are_brought_again(project: Project, server: Server) -> None:
    data = fetch_model(project, server)
    project.build()
    blob(project, digest.of_bytes(data)).unlink()
    said = project.build("--no-cache", "convert")
    assert "(2 ran" in said
    assert len(server.asked) == 2


def test_a_first_build_brings_all_that_it_will_take_at_once(project: Project, server: Server) -> None:
    fetch_model(project, server)
    fetch_test(project, server)
    said = project.build("-j", "2", "--progress", "plain")
    assert said.index("fetch:artifact") < said.index("load:test") < said.index("sample:test")


def test_damaged_bytes_heal(project: Project, server: Server) -> None:
    data = fetch_model(project, server)
    project.build()
    damaged = blob(project, digest.of_bytes(data))
    damaged.chmod(0o644)
    damaged.write_bytes(bytes(len(data)))
    project.build("--no-cache", "convert")
    assert len(server.asked) == 2
    assert damaged.read_bytes() == data


def test_another_address_of_the_same_bytes_changes_nothing(project: Project, server: Server) -> None:
    data = fetch_model(project, server)
    project.build()
    server.put("mirror/model.onnx", data)
    project.edit("/model.onnx", "/mirror/model.onnx")
    assert "(0 ran" in project.build()


def test_other_bytes_are_refused_and_not_kept(project: Project, server: Server) -> None:
    fetch_model(project, server)
    server.put("model.onnx", b"something else")
    said = project.build(exits=5)
    assert "MS640" in said
    assert digest.of_bytes(b"something else") in said
    assert "model.yaml:4:" in said
    assert not list((project.cache / "v1" / "partial").iterdir())
    assert not blob(project, digest.of_bytes(b"something else")).exists()
    assert not project.dist.exists()


def test_what_a_failed_build_has_is_kept_for_the_next(project: Project, server: Server) -> None:
    data = fetch_model(project, server, cut_after=[1000, 500, 0, 0])
    said = project.build(exits=4)
    assert "MS641" in said
    assert "cut" in said
    asked = len(server.asked)
    project.build()
    assert server.asked[asked:] == [("/model.onnx", "bytes=1500-")]
    assert server.sent == len(data)


def test_what_does_not_exist_is_said_at_its_line(project: Project, server: Server) -> None:
    fetch_model(project, server)
    server.files.clear()
    said = project.build(exits=4)
    assert "MS641" in said
    assert "404" in said
    assert "model.yaml:4:" in said
    assert len(server.asked) == 1


def test_offline_says_all_that_is_missing_at_once(project: Project, server: Server) -> None:
    fetch_model(project, server)
    fetch_test(project, server)
    for command in ("build", "plan"):
        done = project.run(command, "--offline")
        assert done.returncode == 4
        assert done.stderr.count("error[MS642]") == 2
        assert "model.yaml:4:" in done.stderr
        assert "model.yaml:6:" in done.stderr
    assert not server.asked
    project.build("--until", "fetch")
    assert len(server.asked) == 2
    server.files.clear()
    assert project.run("plan", "--offline").returncode == 0
    project.build("--offline")
    assert len(server.asked) == 2


def test_a_file_by_its_address(project: Project, tmp_path: Path) -> None:
    data = (project.folder / "model.onnx").read_bytes()
    (tmp_path / "else where").mkdir()
    (project.folder / "model.onnx").rename(tmp_path / "else where" / "model.onnx")
    project.edit(MODEL, "artifact: " + remote((tmp_path / "else where" / "model.onnx").as_uri(), data))
    project.build("--offline")


def test_what_fsspec_reads(project: Project, tmp_path: Path) -> None:
    data = (project.folder / "test.npz").read_bytes()
    (project.folder / "test.npz").rename(tmp_path / "elsewhere.npz")
    project.edit(TEST, "path: " + remote(f"local://{tmp_path}/elsewhere.npz", data))
    assert "MS642" in project.build("--offline", exits=4)
    project.build()


def test_a_package_that_fsspec_lacks_is_named(project: Project) -> None:
    project.edit(MODEL, "artifact: " + remote("s3://bucket/model.onnx", b"model"))
    said = project.build(exits=4)
    assert "MS401" in said
    assert "s3fs" in said


def test_a_certificate_has_to_be_trusted(project: Project, tmp_path: Path) -> None:
    certificate = tmp_path / "own.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(certificate), "-out", str(tmp_path / "public.pem")],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    certificate.write_text(certificate.read_text() + (tmp_path / "public.pem").read_text())
    with serving(certificate) as server:
        fetch_model(project, server)
        said = project.build(exits=4)
        assert "MS641" in said
        assert "certificate is not trusted" in said
        assert not server.asked
        trusted = {"SSL_CERT_FILE": str(tmp_path / "public.pem")}
        project.build(env=trusted)
        assert len(server.asked) == 1
        with serving() as plain:
            moved = server.put("moved.npz", b"", redirect=plain.put("test.npz", b""))
            project.edit(TEST, "path: " + remote(moved, (project.folder / "test.npz").read_bytes()))
            assert "which is not followed" in project.build(exits=4, env=trusted)
            assert not plain.asked


def test_a_proxy_is_used(project: Project, server: Server) -> None:
    data = (project.folder / "model.onnx").read_bytes()
    server.files["http://nowhere.example/model.onnx"] = Served(data)
    project.edit(MODEL, "artifact: " + remote("http://nowhere.example/model.onnx", data))
    project.build(env={"http_proxy": server.base, "no_proxy": ""})
    assert server.asked == [("http://nowhere.example/model.onnx", "")]


def test_one_file_that_two_builds_want_is_brought_once(project: Project, server: Server) -> None:
    fetch_model(project, server, silent_s=2.0)
    command = ["build", "--until", "convert"]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: project.run(*command), range(2)))
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    assert len(server.asked) == 1


def test_pruning_drops_what_came_so_far(project: Project, server: Server) -> None:
    fetch_model(project, server, cut_after=[1000, 0, 0, 0, 0])
    project.build(exits=4)
    partial = project.cache / "v1" / "partial"
    assert len(list(partial.iterdir())) == 2
    assert project.run("cache", "prune", "--max-size", "0B").returncode == 0
    assert not list(partial.iterdir())
