"""Base images from the project: a layout, its tar, or the tar of `docker save` are one image; what cannot serve is refused."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from modelspec.errors import ModelspecError
from modelspec.stages.base import Base
from tests.conftest import RunStage
from tests.oci import bases


def brought(run_stage: RunStage, path: Path, kind: str = "oci", platforms: tuple[str, ...] = ("linux/amd64",), python: str = "3.11") -> tuple[set[str], dict[str, object]]:  # fmt: skip
    stage = Base(base=f"{kind}:{path.name}", python=python, manifests=dict.fromkeys(platforms, ""))
    held = path.with_name(f"{path.name}-held")
    held.mkdir(exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, held / path.name, dirs_exist_ok=True)
    else:
        shutil.copy(path, held)
    job = run_stage(stage, {"base": held})
    blobs = {file.name for file in job.output("base").iterdir()}
    return blobs, {p.name: json.loads(p.read_text()) for p in job.output("base-image").iterdir()}


def test_three_forms_are_one_image(run_stage: RunStage, tmp_path: Path) -> None:
    layout = bases.write(tmp_path / "base")
    archives = bases.as_oci_archive(layout, tmp_path / "oci.tar"), bases.as_docker_archive(layout, tmp_path / "docker.tar")  # fmt: skip
    found = [
        brought(run_stage, path, kind)
        for path, kind in zip((layout, *archives), ("oci", "oci-archive", "docker-archive"), strict=True)
    ]
    assert found[0] == found[1] == found[2]
    assert len(found[0][0]) == 1


def test_two_platforms_share_their_layers(run_stage: RunStage, tmp_path: Path) -> None:
    layout = bases.write(tmp_path / "base", architectures=("amd64", "arm64"))
    blobs, said = brought(run_stage, layout, platforms=("linux/amd64", "linux/arm64"))
    assert len(blobs) == 1
    assert sorted(said) == ["linux-amd64.json", "linux-arm64.json"]


@pytest.mark.parametrize(
    ("names", "env", "version"),
    [
        ({"usr/bin/python3.12": "", "usr/bin/python3": "python3.12"}, [], "3.12"),
        ({"./usr/local/bin/python3.13": "", "./usr/bin/python3": "python3.11"}, [], "3.13"),
        ({"usr/bin/python3.11": "", "usr/local/bin/python3.12": "", "usr/local/bin/python3": "python3.12"}, [], "3.12"),
        ({"etc/x": ""}, ["PYTHON_VERSION=3.14.1"], "3.14"),
    ],
)
def test_the_version_is_found(run_stage: RunStage, tmp_path: Path, names: dict[str, str], env: list[str], version: str) -> None:  # fmt: skip
    layout = bases.write(tmp_path / "base", tar=bases.layer(names), Env=env)
    assert brought(run_stage, layout, python=version)
    with pytest.raises(ModelspecError, match="MS542"):
        brought(run_stage, layout, python="3.19")


def test_a_base_without_python_is_refused(run_stage: RunStage, tmp_path: Path) -> None:
    with pytest.raises(ModelspecError, match="has no Python"):
        brought(run_stage, bases.write(tmp_path / "base", tar=bases.layer({"etc/x": ""})))


def test_compressed_layers_stay_as_they_are(run_stage: RunStage, tmp_path: Path) -> None:
    packed = gzip.compress(bases.layer(), mtime=0)
    layout = bases.write(tmp_path / "base", tar=packed)
    expected = {p.name for p in (layout / "blobs/sha256").iterdir() if p.stat().st_size == len(packed)}
    assert brought(run_stage, layout)[0] == expected


def test_a_layer_in_zstd_is_read(run_stage: RunStage, tmp_path: Path) -> None:
    import zstandard

    assert brought(run_stage, bases.write(tmp_path / "base", tar=zstandard.compress(bases.layer())))


def test_a_base_with_musl_is_refused(run_stage: RunStage, tmp_path: Path) -> None:
    names = {"usr/local/bin/python3.11": "", "usr/local/bin/python3": "python3.11", "lib/ld-musl-x86_64.so.1": ""}
    with pytest.raises(ModelspecError, match=r"MS541.*musl"):
        brought(run_stage, bases.write(tmp_path / "base", tar=bases.layer(names)))


def test_a_base_for_another_machine_is_refused(run_stage: RunStage, tmp_path: Path) -> None:
    with pytest.raises(ModelspecError, match="MS543"):
        brought(run_stage, bases.write(tmp_path / "base", architectures=("arm64",)))


def test_a_layer_with_other_bytes_is_refused(run_stage: RunStage, tmp_path: Path) -> None:
    layout = bases.write(tmp_path / "base")
    largest = max((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelspecError, match=r"MS541.*other bytes"):
        brought(run_stage, layout)


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"schemaVersion": 2, "manifests": [{"digest": "sha256:1"}]}'])
def test_a_damaged_index_is_refused(run_stage: RunStage, tmp_path: Path, damage: str) -> None:
    layout = bases.write(tmp_path / "base")
    (layout / "index.json").write_text(damage)
    with pytest.raises(ModelspecError, match=r"MS541|MS543|MS655"):
        brought(run_stage, layout)
