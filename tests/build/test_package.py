"""A compressed publication: measured unpacked, gated by what is published, verified, rebuilt."""

import gzip
import json

import pytest

from modelspec.errors import Exit
from modelspec.formats import onnx_model
from tests.build.conftest import MakeProject, Project
from tests.build.published import edit_json, seal

INT8, FP32 = "cpu-int8", "cpu-fp32"


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    made = make_project()
    made.spec.write_text(made.spec.read_text() + "package: {compression: gzip}\n")
    return made


def test_what_is_published_is_compressed_and_the_rest_is_as_it_was(project: Project) -> None:
    project.build()
    packed = project.tree()
    runtime = json.loads(packed[f"{FP32}/runtime.json"])
    (file,) = runtime["package"]["files"]
    assert f"{FP32}/model.onnx" not in packed
    assert f"  {FP32}/model.onnx.gz\n".encode() in packed["checksums.txt"]
    metrics = json.loads(packed[f"{FP32}/metrics.json"])["metrics"]
    model = gzip.decompress(packed[f"{FP32}/model.onnx.gz"])
    assert (metrics["size"], metrics["unpacked_size"]) == (len(packed[f"{FP32}/model.onnx.gz"]), len(model))
    assert file["size"] == len(model)
    shown = project.run("inspect", str(project.dist)).stdout
    assert "model.onnx.gz  gzip of" in shown
    assert "unpacked_size" in shown
    project.edit("package: {compression: gzip}\n", "")
    said = project.build()
    assert "0 ran" in said, "compression comes last: without it nothing is made anew"
    plain = project.tree()
    assert plain[f"{FP32}/model.onnx"] == model
    for name in ("signature.json", "golden/outputs.npz"):
        assert plain[f"{FP32}/{name}"] == packed[f"{FP32}/{name}"]


def test_the_gate_on_size_is_on_the_published_bytes(project: Project) -> None:
    project.build()
    sizes = json.loads(project.tree()[f"{INT8}/metrics.json"])["metrics"]
    between = (sizes["size"] + sizes["unpacked_size"]) // 2
    project.edit("{metric: size, max: 1MB}", f"{{metric: size, max: {between}B, targets: [cpu-int8]}}")
    project.build()
    project.edit("package: {compression: gzip}\n", "")
    project.build(exits=Exit.GATE)


@pytest.mark.slow
def test_it_verifies_and_rebuilds(project: Project) -> None:
    project.edit("compression: gzip", "compression: zstd, level: 3")
    project.build()
    done = project.run("verify", "--rebuild", str(project.dist))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rebuild  exact" in done.stdout


@pytest.mark.slow
def test_other_compressed_bytes_of_the_same_model_are_equivalent(project: Project) -> None:
    project.build()
    path = project.dist / FP32 / "model.onnx.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 9, mtime=1))
    seal(project.dist)
    done = project.run("verify", "--rebuild", str(project.dist))
    assert f"{FP32}/model.onnx.gz" not in [line for line in done.stderr.splitlines() if "MS607" in line]
    assert "equivalent" in done.stdout


def test_damage_that_is_sealed_is_found(project: Project) -> None:
    project.build()
    path, place = project.dist / FP32 / "model.onnx.gz", project.folder / "other.onnx"
    model = gzip.decompress(path.read_bytes())
    place.write_bytes(model)
    proto = onnx_model.read(place)
    proto.graph.initializer[0].raw_data = bytes(len(proto.graph.initializer[0].raw_data))
    path.write_bytes(gzip.compress(proto.SerializeToString(), mtime=0))
    seal(project.dist)
    done = project.run("verify", str(project.dist))
    assert done.returncode == Exit.INTEGRITY
    assert "error[MS602]: what model.onnx.gz holds does not match its digest" in done.stderr


def test_a_bomb_is_refused(project: Project) -> None:
    project.build()
    (project.dist / FP32 / "model.onnx.gz").write_bytes(gzip.compress(bytes(1 << 24), mtime=0))
    edit_json(project.dist / FP32 / "runtime.json", lambda value: value["package"]["files"][0].update(size=1 << 40))
    seal(project.dist)
    done = project.run("verify", str(project.dist))
    assert done.returncode == Exit.UNSAFE
    assert "MS613" in done.stderr
    assert "cannot stand for" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_gate_on_what_is_not_compressed_is_refused(make_project: MakeProject) -> None:
    project = make_project()
    project.edit("{metric: size, max: 1MB}", "{metric: unpacked_size, max: 1MB}")
    assert "MS307" in project.build(exits=2)
