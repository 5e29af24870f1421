"""The stage: what it takes from the image and the server, and what its key depends on."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from modelspec import resources
from modelspec.errors import ModelspecError
from modelspec.manifests.options import Manifests
from modelspec.oci.layout import Layout, manifest
from modelspec.stages._manifest_render_pins import ResourcePin
from modelspec.stages.manifest_render import ManifestRender
from tests.conftest import RunStage
from tests.manifests.conftest import FULL, SIGNATURE, load


def stage(block: dict[str, Any]) -> ManifestRender:
    return ManifestRender(
        manifests=Manifests.model_validate(block),
        model="digits",
        version="1.0.0",
        repository="registry.example/vision/digits",
    )


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """The slots, with an image of a single empty layer."""
    layout = Layout(tmp_path / "image")
    (tmp_path / "image").mkdir()
    config = layout.add_json({"architecture": "amd64", "os": "linux"}, "application/vnd.oci.image.config.v1+json")
    image = layout.add_json(manifest(config, [], {}), "application/vnd.oci.image.manifest.v1+json")
    layout.write_index([image], [])
    slots: dict[str, dict[str, Any]] = {
        "runtime": {
            "runtime.json": {"file": "model.onnx", "session": {"intra_op_num_threads": 2}, "serve": {"port": 8081}}
        },
        "signature": {"signature.json": SIGNATURE},
        "artifact": {"model.onnx": "a model"},
    }
    for name, files in slots.items():
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_text(json.dumps(content))
    return {name: tmp_path / name for name in ("image", "runtime", "signature", "artifact")}


def test_it_deploys_the_image_as_its_server_runs(run_stage: RunStage, inputs: dict[str, Path]) -> None:
    job = run_stage(stage({"formats": ("kubernetes",)}), inputs)
    digest = Layout(inputs["image"]).index()[0].digest
    container = load(job.output("manifests") / "kubernetes" / "deployment.yaml")["spec"]["template"]["spec"][
        "containers"
    ][0]
    assert container["image"] == f"registry.example/vision/digits@{digest}"
    assert container["ports"] == [{"name": "http", "containerPort": 8081, "protocol": "TCP"}]


def test_triton_finds_the_model_beside_its_configuration(run_stage: RunStage, inputs: dict[str, Path]) -> None:
    folder = run_stage(stage({"formats": ("triton",)}), inputs).output("manifests") / "triton" / "digits"
    assert (folder / "1" / "model.onnx").read_bytes() == (inputs["artifact"] / "model.onnx").read_bytes()
    assert 'value { string_value: "2" }' in (folder / "config.pbtxt").read_text()
    (inputs["artifact"] / "weights.bin").write_bytes(b"weights")
    folder = run_stage(stage({"formats": ("triton",)}), inputs).output("manifests") / "triton" / "digits"
    assert {path.name for path in (folder / "1" / "model.onnx").iterdir()} == {"model.onnx", "weights.bin"}


def test_triton_takes_no_compressed_model(run_stage: RunStage, inputs: dict[str, Path]) -> None:
    runtime = inputs["runtime"] / "runtime.json"
    runtime.write_text(json.dumps({**json.loads(runtime.read_text()), "package": {"compression": "gzip"}}))
    with pytest.raises(ModelspecError) as caught:
        run_stage(stage({"formats": ("triton",)}), inputs)
    assert [problem.code for problem in caught.value.diagnostics] == ["MS576"]


def test_templates_of_the_user_are_an_input(run_stage: RunStage, inputs: dict[str, Path], tmp_path: Path) -> None:
    own = tmp_path / "own" / "templates" / "kubernetes"
    own.mkdir(parents=True)
    (own / "notes.yaml.j2").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\n")
    options = stage({"formats": ("kubernetes",), "templates": "templates"})
    assert options.named_by("templates") == "templates"
    job = run_stage(options, inputs | {"templates": own.parents[1]})
    assert load(job.output("manifests") / "kubernetes" / "notes.yaml")["kind"] == "ConfigMap"


def test_the_key_has_the_templates_that_are_used_and_not_the_path_of_the_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = stage({"formats": ("kubernetes",)})
    before, others = small.keyed(), stage({"formats": ("compose",)}).keyed()
    assert before == stage({"formats": ("kubernetes",), "templates": "elsewhere"}).keyed()
    for name in ("templates", "schemas"):
        shutil.copytree(resources.folder(name), tmp_path / name)
    monkeypatch.setattr(resources, "folder", lambda name: tmp_path / name)
    assert small.keyed() == before
    with (tmp_path / "templates" / "kubernetes" / "service.yaml.j2").open("a") as file:
        file.write("# changed\n")
    assert small.keyed() != before
    assert stage({"formats": ("compose",)}).keyed() == others


def test_options_survive_the_way_to_the_worker() -> None:
    options = stage(FULL)
    assert (
        ManifestRender.model_validate(json.loads(json.dumps(options.model_dump(mode="json"))), strict=False) == options
    )


PEAK, BEFORE, BODY = 300 << 20, 100 << 20, 8 << 20


@pytest.mark.parametrize(
    ("threads", "parallel", "body", "cpu", "memory"),
    [
        (None, 1, BODY, "4", "640MiB"),  # 1.5 * 300 + 16 * 8 = 578
        (2, 1, BODY, "2", "640MiB"),  # the server's threads, where it is told
        (None, 3, BODY, "12", "1216MiB"),  # 1.5 * (300 + 2 * 200) + 128 = 1178
        (None, 1, 1 << 20, "4", "512MiB"),  # 450 + 16 = 466
    ],
)
def test_what_a_pod_asks_for_by_what_was_measured(
    threads: int | None, parallel: int, body: int, cpu: str, memory: str
) -> None:
    figures = {"metrics": {"peak_memory": PEAK}, "threads": 4, "memory_before_load": BEFORE}
    for resource, amount in (("cpu", cpu), ("memory", memory)):
        pin = ResourcePin("benchmark", "cpu-fp32", resource, threads, parallel, body)
        assert pin.answer(figures) == {"request": amount}
        assert pin.answer({"metrics": {}}) == {}, "nothing was timed without its device"


def test_the_key_is_as_it_was_where_nothing_is_pinned() -> None:
    options = stage({"formats": ("kubernetes",)})
    assert "pinned" not in options.keyed()
    assert options.model_copy(update={"pinned": {"cpu": "2"}}).keyed()["pinned"] == {"cpu": "2"}


def test_pinned_amounts_are_what_a_container_is_given(run_stage: RunStage, inputs: dict[str, Path]) -> None:
    block = {"formats": ("kubernetes",), "resources": {"cpu": "500m"}}
    options = stage(block).model_copy(update={"pinned": {"memory": "192MiB"}})
    job = run_stage(options, inputs)
    pod = load(job.output("manifests") / "kubernetes" / "deployment.yaml")["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "192Mi"}
