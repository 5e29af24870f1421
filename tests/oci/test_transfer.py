"""push, pull and inspect against Debian's docker-registry, compared with what skopeo and the Docker engine make of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelspec.digest import of_file
from tests.oci import layouts, services

Done = subprocess.CompletedProcess[str]


def modelspec(*arguments: str | Path, config: Path | None = None) -> Done:
    """The command, as a user runs it."""
    environment = {**os.environ, "DOCKER_CONFIG": str(config or "/nonexistent")}
    command = [sys.executable, "-m", "modelspec", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def well(*arguments: str | Path, config: Path | None = None) -> Done:
    done = modelspec(*arguments, config=config)
    assert done.returncode == 0, done.stderr
    return done


def skopeo(*arguments: str | Path) -> str:
    services.need("skopeo")
    return subprocess.run(
        ["skopeo", *map(str, arguments)], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def files(folder: Path) -> dict[str, str]:
    return {path.name: of_file(path) for path in (folder / "blobs" / "sha256").iterdir()}


def test_push_and_pull_with_skopeo_have_equal_digests(registry: str, tmp_path: Path) -> None:
    digest = layouts.write(tmp_path / "layout")
    done = well("push", tmp_path / "layout", f"{registry}/a/skopeo", "--format", "json")
    image, pack = json.loads(done.stdout)["pushed"]
    assert image == {"reference": f"{registry}/a/skopeo:1.0.0", "digest": digest, "new": True}
    assert pack["reference"] == f"{registry}/a/skopeo:1.0.0-model"
    for number, tag in enumerate(("1.0.0", "1.0.0-model")):
        source = f"docker://{registry}/a/skopeo:{tag}"
        assert json.loads(skopeo("inspect", "--tls-verify=false", "--raw", source)) == json.loads(
            (tmp_path / "layout" / "blobs" / "sha256" / [digest, pack["digest"]][number][7:]).read_bytes()
        )
        skopeo("copy", "--preserve-digests", "--src-tls-verify=false", source, f"oci:{tmp_path / f'copy-{tag}'}:x")
        (entry,) = json.loads((tmp_path / f"copy-{tag}" / "index.json").read_bytes())["manifests"]
        assert entry["digest"] == [digest, pack["digest"]][number]


def test_what_is_pushed_comes_back(registry: str, tmp_path: Path) -> None:
    digest = layouts.write(tmp_path / "layout", name=f"{registry}/a/back")
    done = well("push", tmp_path / "layout")
    assert f"{registry}/a/back@{digest}" in done.stdout
    well("pull", f"{registry}/a/back:1.0.0", "-o", tmp_path / "image")
    well("pull", f"{registry}/a/back:1.0.0-model", "-o", tmp_path / "pack")
    assert files(tmp_path / "image") | files(tmp_path / "pack") == files(tmp_path / "layout")
    for name, sha256 in files(tmp_path / "image").items():
        assert name == sha256
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_is_there_is_not_sent_again(registry: str, tmp_path: Path) -> None:
    layouts.write(tmp_path / "one", seed=1)
    layouts.write(tmp_path / "two", seed=2, version="1.1.0")
    assert well("push", tmp_path / "one", f"{registry}/a/again").stderr.count("sent") == 4
    assert "already there" in well("push", tmp_path / "one", f"{registry}/a/again").stdout
    second = well("push", tmp_path / "two", f"{registry}/a/again").stderr
    # The base layer, and for the artifact the layer that the image has.
    assert second.count("already there") == 2


def test_a_layer_of_the_base_is_taken_over_from_its_repository(registry: str, tmp_path: Path) -> None:
    layouts.write(tmp_path / "base")
    well("push", tmp_path / "base", f"{registry}/library/base")
    layouts.write(tmp_path / "new", seed=3, base=f"{registry}/library/base:1.0.0")
    assert well("push", tmp_path / "new", f"{registry}/a/mounted").stderr.count("taken over") == 1


def test_the_docker_engine_pulls_what_was_pushed(registry: str, engine: str, tmp_path: Path) -> None:
    digest = layouts.write(tmp_path / "layout", seed=4)
    well("push", tmp_path / "layout", f"{registry}/a/docker")

    def docker(*arguments: str) -> str:
        command = ["docker", "-H", engine, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    assert digest in docker("pull", f"{registry}/a/docker:1.0.0")
    assert f"{registry}/a/docker@{digest}" in docker("image", "inspect", f"{registry}/a/docker:1.0.0")
    # And the other way: what the engine pushes, with its compressed layers and its own media types.
    docker("tag", f"{registry}/a/docker:1.0.0", f"{registry}/b/docker:2")
    docker("push", f"{registry}/b/docker:2")
    said = well("pull", f"{registry}/b/docker:2", "-o", tmp_path / "image").stdout
    assert json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{registry}/b/docker:2"))["Digest"] in said
    assert "65532:65532" in skopeo("inspect", "--config", f"oci:{tmp_path / 'image'}")
    # What was pulled is loaded as it is.
    docker("rmi", f"{registry}/b/docker:2")
    with (tmp_path / "tar").open("wb") as file:
        subprocess.run(["tar", "-C", str(tmp_path / "image"), "-c", "."], stdout=file, check=True)
    assert f"{registry}/b/docker:2" in docker("load", "-i", str(tmp_path / "tar"))


def test_a_version_with_another_digest_is_refused(registry: str, tmp_path: Path) -> None:
    first = layouts.write(tmp_path / "one", seed=1)
    second = layouts.write(tmp_path / "two", seed=2)
    well("push", tmp_path / "one", f"{registry}/a/moved")
    done = modelspec("push", tmp_path / "two", f"{registry}/a/moved")
    assert done.returncode == 5
    assert "error[MS654]" in done.stderr
    assert first in done.stderr
    assert second in done.stderr
    assert "sent" not in done.stderr, "it was sent before it was refused"
    well("push", tmp_path / "two", f"{registry}/a/moved", "--replace")
    assert second in skopeo("inspect", "--tls-verify=false", f"docker://{registry}/a/moved:1.0.0")


def test_of_several_targets_none_is_sent_where_one_is_refused(registry: str, tmp_path: Path) -> None:
    for target in ("a", "b"):
        (tmp_path / target).mkdir()
        layouts.write(tmp_path / target / "image", name=f"{registry}/a/refused")
    layouts.write(tmp_path / "other", seed=1)
    well("push", tmp_path / "other", f"{registry}/a/refused:1.0.0-b")
    done = modelspec("push", tmp_path)
    assert (done.returncode, "sent" in done.stderr) == (5, False)
    assert modelspec("inspect", f"{registry}/a/refused:1.0.0-a").returncode == 4


def test_an_image_for_two_platforms(registry: str, tmp_path: Path) -> None:
    digest = layouts.write_index(tmp_path / "layout", ("amd64", "arm64"))
    assert digest in well("push", tmp_path / "layout", f"{registry}/a/both").stdout
    raw = json.loads(skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{registry}/a/both:1.0.0"))
    for entry in raw["manifests"]:
        platform = f"linux/{entry['platform']['architecture']}"
        folder = tmp_path / platform[6:]
        assert entry["digest"] in well("pull", f"{registry}/a/both:1.0.0", "--platform", platform, "-o", folder).stdout
        config = json.loads(skopeo("inspect", "--config", f"oci:{folder}"))
        assert f"linux/{config['architecture']}" == platform
    none = modelspec("pull", f"{registry}/a/both:1.0.0", "--platform", "linux/s390x", "-o", tmp_path / "none")
    assert (none.returncode, "error[MS355]" in none.stderr) == (2, True)
    assert "linux/arm64" in well("inspect", f"{registry}/a/both:1.0.0").stdout


def test_several_targets_have_a_tag_each(registry: str, tmp_path: Path) -> None:
    for number, target in enumerate(("cpu-int8", "cpu-fp32")):
        (tmp_path / target).mkdir()
        layouts.write(tmp_path / target / "image", seed=number, name=f"{registry}/a/targets")
    done = well("push", tmp_path)
    for tag in ("1.0.0-cpu-int8", "1.0.0-cpu-fp32", "1.0.0-cpu-int8-model", "1.0.0-cpu-fp32-model"):
        assert f"{registry}/a/targets:{tag}\n" in done.stdout
    assert f"{registry}/a/targets:1.0.0\n" in well("push", tmp_path, "-t", "cpu-int8").stdout
    assert modelspec("push", tmp_path, "-t", "gpu").returncode == 2


@pytest.mark.parametrize("chunk", [None, 120_000], ids=["whole", "chunks"])
def test_a_registry_that_fails_half_the_requests_is_survived(registry: str, tmp_path: Path, chunk: int | None) -> None:
    digest = layouts.write(tmp_path / "layout", seed=7 + bool(chunk))
    with services.flaky(registry) as way:
        name = f"{way.address}/flaky/n{chunk or 0}"
        if chunk:
            script = (
                f"from modelspec.oci import upload; import sys; upload.push_blob.__kwdefaults__['chunk'] = {chunk}\n"
            )
            script += "from modelspec.cli import main; main()"
            command = [sys.executable, "-c", script, "push", str(tmp_path / "layout"), name]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
        else:
            done = well("push", tmp_path / "layout", name)
        assert digest in done.stdout
        assert "again" in done.stderr
        well("pull", f"{name}:1.0.0", "-o", tmp_path / "image")
        assert way.failed > way.connections // 3
    assert set(files(tmp_path / "image")) <= set(files(tmp_path / "layout"))
    source = f"docker://{registry}/flaky/n{chunk or 0}:1.0.0"
    skopeo("copy", "--preserve-digests", "--src-tls-verify=false", source, f"oci:{tmp_path / 'copy'}:x")
    assert digest in (tmp_path / "copy" / "index.json").read_text()


def test_a_password_of_docker_login_opens_a_registry(locked_registry: str, tmp_path: Path) -> None:
    digest = layouts.write(tmp_path / "layout")
    config = services.docker_config(tmp_path / "docker", locked_registry, services.USER, services.PASSWORD)
    name = f"{locked_registry}/a/locked"
    assert digest in well("push", tmp_path / "layout", name, config=config).stdout
    well("pull", f"{name}:1.0.0", "-o", tmp_path / "image", config=config)
    assert digest in well("inspect", f"{name}:1.0.0", config=config).stdout


@pytest.mark.parametrize("command", ["push", "pull", "inspect"])
@pytest.mark.parametrize("known", [True, False], ids=["a wrong password", "no password"])
def test_without_the_right_password_the_registry_is_named_and_no_secret(locked_registry: str, tmp_path: Path, command: str, known: bool) -> None:  # fmt: skip
    layouts.write(tmp_path / "layout")
    wrong = "c4nary-that-is-wrong"
    config = services.docker_config(tmp_path / "docker", locked_registry if known else "other", "alice", wrong)
    name = f"{locked_registry}/a/closed:1"
    arguments = [command, str(tmp_path / "layout"), name] if command == "push" else [command, name]
    done = modelspec(*arguments, config=config)
    assert done.returncode == 4, done.stderr
    assert "error[MS411]" in done.stderr
    assert locked_registry in done.stderr
    assert f"docker login {locked_registry}" in done.stderr
    auth = json.loads((config / "config.json").read_text())["auths"].popitem()[1]["auth"]
    for secret in (wrong, auth):
        assert secret not in done.stderr + done.stdout


def test_inspect_shows_layers_with_their_origin(registry: str, tmp_path: Path) -> None:
    digest = layouts.write(tmp_path / "layout", name=f"{registry}/a/shown")
    well("push", tmp_path / "layout")
    remote = well("inspect", f"{registry}/a/shown:1.0.0").stdout
    for part in (
        digest,
        "linux/amd64",
        "65532:65532",
        "org.opencontainers.image.version = 1.0.0",
        "204.8 kB",
        "base",
        "model",
    ):
        assert part in remote
    local = json.loads(well("inspect", tmp_path / "layout", "--format", "json").stdout)["images"]
    assert [len(image["layers"]) for image in local] == [2, 1]
    assert local[1]["artifactType"] == layouts.MODELPACK


def test_a_typo_in_a_folder_is_not_looked_for_in_a_registry() -> None:
    for written in ("dist/nothing/1.0.0", "nothing", "./nothing/here", "../nothing"):
        assert modelspec("inspect", written).returncode == 2


def test_what_cannot_be_had(registry: str, tmp_path: Path) -> None:
    missing = modelspec("pull", f"{registry}/a/none:1", "-o", tmp_path / "x")
    assert (missing.returncode, "error[MS413]" in missing.stderr) == (4, True)
    nobody = modelspec("inspect", f"127.0.0.1:{services.free_port()}/a/b:1")
    assert (nobody.returncode, "error[MS412]" in nobody.stderr) == (4, True)
    assert not (tmp_path / "x").exists()


def test_a_blob_that_is_damaged_on_disk_is_not_pushed(registry: str, tmp_path: Path) -> None:
    layouts.write(tmp_path / "layout", seed=11)
    largest = max((tmp_path / "layout" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[1000] ^= 1
    largest.write_bytes(data)
    done = modelspec("push", tmp_path / "layout", f"{registry}/a/damaged")
    assert (done.returncode, "error[MS650]" in done.stderr) == (5, True), done.stderr
    assert modelspec("inspect", f"{registry}/a/damaged:1.0.0").returncode == 4
