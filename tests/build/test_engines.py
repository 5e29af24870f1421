"""Engines through the command: built without a GPU, deferred and finished, rebuilt, keyed by what they depend on."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.build.conftest import MakeProject, Project
from tests.build.nvml import library

pytestmark = pytest.mark.slow

SHAPES = "shapes: {x: {min: [1, 16], opt: [8, 16], max: [32, 16]}}"
TARGETS = f"""\
targets:
  - {{device: tensorrt-rtx, precision: int8, {SHAPES}}}
  - {{device: tensorrt-rtx, precision: fp16, {SHAPES}}}
"""
RTX = ("tensorrt-rtx-fp16", "tensorrt-rtx-int8")


def made(make_project: MakeProject, targets: str = TARGETS, name: str = "project") -> Project:
    project = make_project(name)
    project.edit("targets:\n  - {device: cpu, precision: int8}\n  - {device: cpu}\n", targets)
    int8 = "  int8: {method: auto, data: calibration}\n" if "int8" in targets else ""
    project.edit(
        "  int8: {method: static, data: calibration, ranges: minmax}\n", f"{int8}  fp16: {{data: calibration}}\n"
    )
    return project


def read(project: Project, path: str) -> Any:
    return json.loads((project.dist / path).read_text())


@pytest.fixture
def rtx(make_project: MakeProject) -> Project:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    return made(make_project)


def test_engines_are_built_here_and_what_was_measured_is_said(rtx: Project) -> None:
    said = rtx.build()
    assert "warning[MS564]" in said
    build = read(rtx, "build.json")
    assert build["measuredOn"] == dict.fromkeys(RTX, "cpu")
    assert build["deferred"] == []
    compiled = [action for action in build["actions"] if action["stage"] == "compile"]
    assert {action["determinism"] for action in compiled} == {"recorded"}
    for label in RTX:
        record = read(rtx, f"{label}/engine.json")
        assert (record["state"], record["inspected"], record["device"]) == ("built", False, None)
        assert record["recipe"]["profile"]["x"]["max"] == [32, 16]
        assert record["version"] == read(rtx, f"{label}/runtime.json")["requires"]["tensorrt-rtx"]
        assert (rtx.dist / label / "model.plan").stat().st_size > 1000
        metrics = read(rtx, f"{label}/metrics.json")
        assert metrics["stages"]["evaluate"]["measured_on"] == "cpu"
        assert metrics["metrics"]["accuracy"] >= metrics["source"]["accuracy"] - 0.05
    assert "nothing to do" in rtx.build() or "0 ran" in rtx.build()


def test_a_rebuild_is_exact_or_equivalent(rtx: Project) -> None:
    rtx.build()
    done = rtx.run("verify", str(rtx.dist), "--rebuild", "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["rebuild"]["verdict"] in {"exact", "equivalent"}
    assert set(found["notRun"]) == set(RTX)


def test_another_engine_of_the_same_record_is_different(rtx: Project) -> None:
    from modelspec.engines import masked

    rtx.build()
    plan = rtx.dist / RTX[0] / "model.plan"
    assert masked.content(plan) == read(rtx, f"{RTX[0]}/engine.json")["content"]
    plan.write_bytes(plan.read_bytes()[:-1] + b"\xff")
    assert rtx.run("verify", str(rtx.dist)).returncode == 5


def hidden(tmp_path: Path) -> dict[str, str]:
    """An environment without TensorRT for RTX: its metadata is what is looked for."""
    folder = tmp_path / "site"
    (folder / "sitecustomize").mkdir(parents=True)
    (folder / "sitecustomize" / "__init__.py").write_text(
        "import os\nlisted = os.listdir\n"
        "os.listdir = lambda *a: [n for n in listed(*a) if not n.startswith('tensorrt_rtx-')]\n"
    )
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def test_deferred_and_finished_it_is_the_direct_build(rtx: Project, make_project: MakeProject, tmp_path: Path) -> None:
    rtx.build()
    other, without = made(make_project, name="other"), hidden(tmp_path)
    assert "error[MS420]: tensorrt-rtx-int8 cannot be compiled here" in other.build(exits=4, env=without)
    assert not other.dist.exists()
    assert "warning[MS565]" in other.build("--allow-deferred", env=without)
    assert read(other, "build.json")["deferred"] == list(reversed(RTX))
    for label in RTX:
        assert read(other, f"{label}/engine.json")["state"] == "deferred"
        assert not (other.dist / label / "model.plan").exists()
    assert other.run("verify", str(other.dist), "--rebuild", env=without).returncode == 0
    assert other.run("finish", str(other.dist), env=without).returncode == 4
    done = other.run("finish", str(other.dist))
    assert done.returncode == 0, done.stderr
    assert read(other, "build.json")["deferred"] == []
    same = [name for name in rtx.tree() if not name.endswith((".plan", "build.json", "checksums.txt"))]
    assert {name: other.tree()[name] for name in same} == {name: rtx.tree()[name] for name in same}
    assert set(other.tree()) == set(rtx.tree())
    again = other.run("verify", str(other.dist), "--rebuild")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "nothing to finish" in other.run("finish", str(other.dist)).stdout


def test_finish_of_a_changed_model_changes_nothing(rtx: Project, tmp_path: Path) -> None:
    rtx.build("--allow-deferred", env=hidden(tmp_path))
    model = rtx.dist / RTX[0] / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\xff")
    before = rtx.tree()
    assert rtx.run("finish", str(rtx.dist)).returncode == 5
    assert rtx.tree() == before


TENSORRT = f"targets: [{{device: tensorrt, precision: fp16, {SHAPES}}}]\n"


def version(folder: Path, name: str, number: str) -> dict[str, str]:
    """An environment in which another version of a distribution is found first."""
    (folder / f"{name}-{number}.dist-info").mkdir(parents=True)
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def why(project: Project, env: dict[str, str]) -> str:
    done = project.run("plan", "--why", "compile", env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_changed_profile_or_builder_is_another_key_and_is_named(rtx: Project, tmp_path: Path) -> None:
    rtx.build("-t", RTX[0])
    assert "nothing that can change" in why(rtx, {})
    found = why(rtx, version(tmp_path / "other", "tensorrt_rtx", "9.9.0.1"))
    assert "tensorrt-rtx 1." in found
    assert "-> 9.9.0.1" in found
    rtx.spec.write_text(rtx.spec.read_text().replace("max: [32, 16]", "max: [64, 16]"))
    assert "shapes.x.max" in why(rtx, {})


def test_a_changed_gpu_driver_or_tensorrt_is_another_key(make_project: MakeProject, tmp_path: Path) -> None:
    keys: dict[str, str] = {}
    project = made(make_project, TENSORRT)
    machines = {
        "first": (("NVIDIA H100", "9.0", "595.71"), "11.4.0.106"),
        "gpu": (("NVIDIA L4", "8.9", "595.71"), "11.4.0.106"),
        "driver": (("NVIDIA H100", "9.0", "600.10"), "11.4.0.106"),
        "tensorrt": (("NVIDIA H100", "9.0", "595.71"), "11.5.0.1"),
    }
    for name, (gpu, release) in machines.items():
        env = {**library(tmp_path / name / "lib", *gpu), **version(tmp_path / name / "site", "tensorrt", release)}
        until = project.build("--until", "quantize", env=env)
        assert "error" not in until
        plan = json.loads(project.run("plan", "--format", "json", env=env).stdout)
        keys[name] = next(action["key"] for action in plan["actions"] if action["stage"] == "compile")
    assert None not in keys.values()
    assert len(set(keys.values())) == len(machines)


def test_what_lacks_for_tensorrt_is_named_with_both_gpus(make_project: MakeProject, tmp_path: Path) -> None:
    project = made(
        make_project, TENSORRT.replace("precision: fp16,", 'precision: fp16, gpu: {compute_capability: "9.0"},')
    )
    said = project.build(exits=4)
    assert "the package tensorrt" in said
    assert "NVIDIA GPU" in said
    env = library(tmp_path / "lib", "NVIDIA L4", "8.9")
    said = project.build(exits=4, env=env)
    assert "a GPU of compute capability 9.0 (here is NVIDIA L4 (compute capability 8.9))" in said
    assert (
        "gpu      NVIDIA L4, compute capability 8.9, driver 595.71, CUDA 13.2" in project.run("doctor", env=env).stdout
    )


def test_doctor_says_which_targets_can_be_built(rtx: Project) -> None:
    rtx.edit("targets:\n", f"targets:\n  - {{device: tensorrt, {SHAPES}}}\n")
    found = json.loads(rtx.run("doctor", "--format", "json").stdout)["targets"]
    assert found["tensorrt-rtx-fp16"]["lacking"] == ""
    assert "tensorrt" in found["tensorrt-fp32"]["lacking"]


def test_cuda_is_built_anywhere_and_measured_on_the_cpu_is_said(make_project: MakeProject) -> None:
    project = made(make_project, "targets: [{device: cuda, precision: fp16}]\n")
    assert "warning[MS564]: cuda-fp16: measured on the CPU: no NVIDIA GPU here" in project.build()
    runtime = read(project, "cuda-fp16/runtime.json")
    assert runtime["providers"][0][0] == "CUDAExecutionProvider"
    assert runtime["session"]["disable_cpu_ep_fallback"] is True
    assert runtime["requires"] == {"onnxruntime-gpu": "1.31.1", "cuda": "13"}
    assert read(project, "build.json")["measuredOn"] == {"cuda-fp16": "cpu"}


def test_a_recorded_timing_cache_is_keyed_by_its_bytes(make_project: MakeProject, tmp_path: Path) -> None:
    project = made(make_project, TENSORRT.replace("precision: fp16,", "precision: fp16, timing_cache: timing.cache,"))
    assert "MS317" in project.build(exits=2)
    keys = []
    env = {**library(tmp_path / "lib"), **version(tmp_path / "site", "tensorrt", "11.4.0.106")}
    for content in (b"one", b"two"):
        (project.folder / "timing.cache").write_bytes(content)
        project.build("--until", "quantize", env=env)
        plan = json.loads(project.run("plan", "--format", "json", env=env).stdout)
        keys.append(next(action["key"] for action in plan["actions"] if action["stage"] == "compile"))
    assert None not in keys
    assert keys[0] != keys[1]
