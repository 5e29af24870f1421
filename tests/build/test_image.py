"""Images as a build makes them: the same bytes anywhere, one layer for each part, and refused where they could not serve."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelspec import digest
from modelspec.oci.contents import LayoutSaid, describe
from modelspec.oci.layout import Layout
from tests.build.conftest import MakeProject, Project, write_data, write_model
from tests.oci import bases

pytestmark = pytest.mark.slow

BLOCK = "containerize: {image: registry.example/vision/tiny, base: 'oci:base'}\n"
MakeImaged = Callable[..., Project]


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of the server are brought once for all tests that are not about them."""
    return tmp_path_factory.mktemp("images") / "cache"


@pytest.fixture
def imaged(make_project: MakeProject, shared_cache: Path) -> MakeImaged:
    """Make the tiny project with one target and an image of it."""

    def make(name: str = "project", block: str = BLOCK, **base: Any) -> Project:
        project = make_project(name)
        project.cache = shared_cache
        project.edit("  - {device: cpu}\n", "")
        project.spec.write_text(project.spec.read_text() + block)
        bases.write(project.folder / "base", **base)
        return project

    return make


def said(project: Project, label: str = "cpu-int8") -> LayoutSaid:
    return describe(Layout(project.dist / label / "image"))


def layers(project: Project) -> dict[str, str]:
    return {layer.name: layer.descriptor.digest for layer in said(project).images[0].layers}


def members(project: Project, name: str) -> dict[str, tarfile.TarInfo]:
    path = Layout(project.dist / "cpu-int8/image").blob(layers(project)[name])
    with tarfile.open(path) as tar:
        return {member.name: member for member in tar.getmembers()}


LIGHT = ("click", "jinja2", "markupsafe", "packaging", "platformdirs", "pydantic", "pydantic_core", "yaml", "_yaml", "rich",
         "annotated_types", "typing_extensions.py", "typing_inspection")  # fmt: skip


def test_a_hook_without_any_tool_finds_the_lock_up_to_date(imaged: MakeImaged, tmp_path: Path) -> None:
    """What an image is made of follows from versions that are not installed where the hook runs: the lock has them."""
    project = imaged()
    project.build()
    installed = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    light = tmp_path / "light"
    light.mkdir()
    for source in (*(installed / name for name in LIGHT), *installed.glob("modelspec_build-*.dist-info")):
        if source.exists():
            (light / source.name).symlink_to(source)
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{Path(__file__).parents[2]}:{light}"}
    command = [sys.executable, "-S", "-m", "modelspec", "lock-check", "--format", "concise", str(project.spec)]

    def checked() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)

    done = checked()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    project.spec.write_text(project.spec.read_text().replace("vision/tiny", "vision/other"))
    done = checked()
    assert done.returncode == 5
    assert "the options of the target 'cpu-int8' are others" in done.stdout


def test_what_is_in_an_image(imaged: MakeImaged) -> None:
    project = imaged()
    out = project.build()
    found = said(project)
    (image,) = found.images
    config = image.config["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"][:4] == ["python3", "-P", "-m", "modelspec.runtime"]
    assert config["Labels"]["org.opencontainers.image.version"] == "1.0.0"
    assert config["ExposedPorts"] == {"8080/tcp": {}}
    assert [layer.name for layer in image.layers] == ["base", "packages", "server", "model"]
    assert all(layer.diff_id == layer.descriptor.digest for layer in image.layers)
    assert f"image  cpu-int8  {found.deployed.digest}" in out
    assert sum(size for name, size in image.sizes().items() if name != "base") < 200_000_000
    packages, server, model = (members(project, name) for name in ("packages", "server", "model"))
    for member in (*packages.values(), *server.values(), *model.values()):
        assert (member.uid, member.gid, member.uname, member.mtime) == (0, 0, "", 0)
        assert member.isdir() or (member.isreg() and not member.name.endswith(".pyc"))
        assert "/bin/" not in member.name
    assert "opt/modelspec/packages/onnxruntime/__init__.py" in packages
    assert "opt/modelspec/modelspec/runtime/__main__.py" in server
    assert not [name for name in packages if name.rpartition("/")[2] in {"RECORD", "INSTALLER", "REQUESTED"}]
    beside = {path.removeprefix("cpu-int8/") for path in project.tree() if path.startswith("cpu-int8/")}
    expected = {f"models/tiny/{path}" for path in beside if not path.startswith("image/")}
    assert {name for name, member in model.items() if member.isreg()} == expected
    recorded = json.loads((project.dist / "build.json").read_text())["images"]["cpu-int8"]
    assert recorded["digest"] == found.deployed.digest
    assert found.deployed.digest.removeprefix("sha256:") in (project.folder / "model.lock").read_text()
    assert found.deployed.digest in project.run("inspect", str(project.dist)).stdout
    assert "nothing to do" in project.build("--locked")
    told = json.loads(project.run("build", "--format", "json").stdout)
    assert told["images"] == {"cpu-int8": found.deployed.digest}
    verified = project.run("verify", str(project.dist))
    assert verified.returncode == 0, verified.stderr


def test_the_same_image_in_another_place_by_other_means(imaged: MakeImaged, tmp_path: Path) -> None:
    one, other = imaged("one"), imaged("other place")
    other.cache = tmp_path / "another cache"  # nothing is shared: the packages are brought again
    one.build()
    before = os.umask(0o077)
    try:
        env = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "HOME": str(tmp_path), "SOURCE_DATE_EPOCH": "1000", "LC_ALL": "C"}  # fmt: skip
        other.build(env=env)
    finally:
        os.umask(before)
    assert said(one).deployed == said(other).deployed
    assert (one.dist / "checksums.txt").read_bytes() == (other.dist / "checksums.txt").read_bytes()


def test_other_weights_are_one_other_layer(imaged: MakeImaged) -> None:
    project = imaged()
    project.build()
    before = layers(project)
    write_model(project.folder / "model.onnx", seed=5)
    write_data(project.folder)
    project.build()
    after = layers(project)
    assert {name for name in before if before[name] != after[name]} == {"model"}
    states = {a["label"]: a["state"] for a in json.loads((project.dist / "build.json").read_text())["actions"]}
    assert (states["base"], states["dependencies"]) == ("cached", "cached")


def test_three_forms_of_a_base_give_one_image(imaged: MakeImaged) -> None:
    project = imaged()
    project.build()
    digests = {said(project).deployed.digest}
    base = project.folder / "base"
    bases.as_oci_archive(base, project.folder / "oci.tar")
    bases.as_docker_archive(base, project.folder / "docker.tar")
    for old, new in (("oci:base", "oci-archive:oci.tar"), ("oci-archive:oci.tar", "docker-archive:docker.tar")):
        project.edit(f"'{old}'", f"'{new}'")
        project.build()
        digests.add(said(project).deployed.digest)
    assert len(digests) == 1


def test_another_python_is_refused_with_its_fix(imaged: MakeImaged) -> None:
    project = imaged(tar=bases.layer({"usr/bin/python3.12": "", "usr/bin/python3": "python3.12"}))
    out = project.build(exits=3)
    assert "MS542" in out
    assert 'python: "3.12"' in out
    assert not project.dist.exists()
    project.edit("'oci:base'", "'oci:base', python: '3.12'")
    project.build()


def test_two_platforms_make_an_index(imaged: MakeImaged) -> None:
    block = "containerize: {base: 'oci:base', platforms: [linux/amd64, linux/arm64]}\n"
    project = imaged(block=block, architectures=("amd64", "arm64"))
    out = project.build()
    assert "MS562" in out
    found = said(project)
    assert found.deployed.media_type == "application/vnd.oci.image.index.v1+json"
    assert [image.platform for image in found.images] == ["linux/amd64", "linux/arm64"]
    by_name = [{layer.name: layer.diff_id for layer in image.layers} for image in found.images]
    assert by_name[0]["model"] == by_name[1]["model"]
    assert by_name[0]["packages"] != by_name[1]["packages"]
    blob = Layout(project.dist / "cpu-int8/image").blob(by_name[1]["packages"])
    with tarfile.open(blob) as tar:
        native = [m for m in tar if m.name.endswith(".so") and "onnxruntime_pybind11" in m.name]
        file = tar.extractfile(native[0])
        assert file is not None
        assert file.read(20)[18] == 183, "an ELF file for AArch64"
    assert project.run("verify", str(project.dist)).returncode == 0


def test_offline_says_what_is_not_in_the_lock(imaged: MakeImaged) -> None:
    project = imaged()
    plan = project.run("plan", "--offline")
    assert plan.returncode == 0, plan.stderr
    assert "is not in model.lock; a build looks it up" in plan.stdout
    assert "MS408" in project.build("--offline", exits=4)
    assert "MS633" in project.build("--locked", exits=5)
    project.build()
    assert "nothing to do" in project.build("--offline", "--locked")
    lock = project.folder / "model.lock"
    lines = lock.read_text().splitlines(keepends=True)
    start = next(index for index, line in enumerate(lines) if line.startswith("found:"))
    end = next(index for index, line in enumerate(lines) if line.startswith("targets:"))
    lock.write_text("".join(lines[:start] + lines[end:]))
    assert "is not in it" in project.build("--locked", exits=5)


def test_an_index_that_does_not_answer_is_said_without_its_password(imaged: MakeImaged) -> None:
    project = imaged()
    env = {"UV_DEFAULT_INDEX": "http://ada:c4nary@127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0", "UV_NO_CACHE": "1"}
    out = project.build(exits=4, env=env)
    assert "MS409" in out
    assert "c4nary" not in out


def test_wheels_with_other_digests_are_refused(imaged: MakeImaged) -> None:
    project = imaged()
    project.build()
    lock = project.folder / "model.lock"
    text = lock.read_text()
    line = next(line for line in text.splitlines() if line.strip().startswith('"click"'))
    version, old = line.split('": "')[1].rstrip('"').split(" ", 1)
    lock.write_text(text.replace(f"{version} {old}", f"{version} sha256:{'0' * 64}"))
    out = project.build(exits=4)
    assert "MS410" in out


def test_a_flipped_byte_is_found_and_named(imaged: MakeImaged) -> None:
    project = imaged()
    project.build()
    model = layers(project)["model"]
    blob = Layout(project.dist / "cpu-int8/image").blob(model)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    done = project.run("verify", str(project.dist))
    assert done.returncode == 5
    assert f"cpu-int8/image/blobs/sha256/{model.removeprefix('sha256:')} does not match its digest" in done.stderr
    assert "MS650" in done.stderr


def test_another_model_in_the_image_is_found(imaged: MakeImaged) -> None:
    """Every digest is right by itself: only that the two models are one is not."""
    project = imaged()
    project.build()
    other = imaged("other")
    write_model(other.folder / "model.onnx", seed=5)
    write_data(other.folder)
    other.build()
    shutil.rmtree(project.dist / "cpu-int8/image")
    shutil.copytree(other.dist / "cpu-int8/image", project.dist / "cpu-int8/image")
    files = [path for path in digest.files_under(project.dist) if path not in {"build.json", "checksums.txt"}]
    sums = digest.sums((digest.of_file(project.dist / path), path) for path in files)
    (project.dist / "checksums.txt").write_text(sums)
    build, theirs = (json.loads((each.dist / "build.json").read_text()) for each in (project, other))
    build["checksums"] = digest.of_bytes(sums.encode())
    build["images"] = theirs["images"]
    build["actions"] += theirs["actions"]
    (project.dist / "build.json").write_text(json.dumps(build))
    done = project.run("verify", str(project.dist))
    assert done.returncode == 5
    assert "MS651" in done.stderr
    assert "model.onnx differs" in done.stderr


def test_a_secret_of_the_environment_is_nowhere(imaged: MakeImaged, tmp_path: Path) -> None:
    project = imaged()
    project.cache = tmp_path / "cache"
    canary = "c4nary-9f2e"
    env = {"AWS_SECRET_ACCESS_KEY": canary, "UV_INDEX_PRIVATE_PASSWORD": canary, "GITHUB_TOKEN": canary, "PYTHONHASHSEED": "1"}  # fmt: skip
    out = project.build(env=env)
    assert canary not in out
    for folder in (project.folder, project.cache):
        for path in folder.rglob("*"):
            assert not path.is_file() or canary.encode() not in path.read_bytes(), path


def test_a_failed_gate_builds_no_image(imaged: MakeImaged) -> None:
    project = imaged()
    project.edit("min: 0.5", "min: 1.01")
    out = project.build(exits=1)
    assert "MS502" in out
    assert "containerize" not in out.split("plan ")[1]


def test_validate_asks_nobody(imaged: MakeImaged) -> None:
    project = imaged()
    done = project.run("validate", env={"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "PATH": "/nowhere"})
    assert done.returncode == 0, done.stderr
