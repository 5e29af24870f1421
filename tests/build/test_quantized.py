"""Integer precisions through the command: the table of nodes, weight-only targets, what a model needs of the CPU."""

import json

import pytest

from modelspec import toolchain
from tests.build.conftest import MakeProject, Project
from tests.build.published import edit_json, seal

TARGETS = """\
targets:
  - {device: cpu, precision: int8}
  - {device: cpu}
"""
STATIC = "{method: static, data: calibration, ranges: minmax}"


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    return make_project()


def metrics(project: Project, label: str) -> dict[str, object]:
    return dict(json.loads((project.dist / label / "metrics.json").read_text()))


def test_the_table_is_in_the_metrics_and_the_same_each_time(project: Project) -> None:
    project.edit(STATIC, "{method: static, data: calibration, sensitivity: true}")
    project.build()
    first = project.tree()
    rows = json.loads(first["cpu-int8/metrics.json"])["stages"]["quantize"]["sensitivity"]
    assert [set(row) for row in rows] == [{"node", "op", "error", "share"}] * len(rows)
    assert {row["node"] for row in rows} >= {"first", "second"}
    assert [row["error"] for row in rows] == sorted((row["error"] for row in rows), reverse=True)
    assert "0 cached" in project.build(env={"MODELSPEC_CACHE_DIR": str(project.cache) + "-other"})
    assert project.tree()["checksums.txt"] == first["checksums.txt"]


def test_weight_only_targets_are_built_judged_and_verified(project: Project) -> None:
    project.edit(TARGETS, "targets: [{device: cpu, precision: int4}, {device: cpu, precision: int8w}]\n")
    project.edit(f"int8: {STATIC}", "int4: {block_size: 16}")
    project.edit("  calibration: {path: calibration.npz}\n", "")
    said = project.build()
    assert "cpu-int4      accuracy" in said
    assert metrics(project, "cpu-int4")["stages"]["quantize"]["quantized"] == {"MatMulNBits": 2}  # type: ignore[index]
    plan = json.loads(project.run("plan", "--format", "json").stdout)
    assert {a["determinism"] for a in plan["actions"] if a["stage"] == "quantize"} == {"exact"}
    done = project.run("verify", str(project.dist))
    assert done.returncode == 0, done.stderr
    assert "cpu-int4: exact" in done.stdout


@pytest.mark.skipif("avx2" not in toolchain.fact("isa"), reason="only CPUs with AVX2 saturate")
def test_a_cpu_without_what_the_model_needs_is_warned(project: Project) -> None:
    project.edit(TARGETS, "targets: [{device: cpu, precision: int8, quantize: {method: dynamic}}]\n")
    project.edit(f"quantize:\n  int8: {STATIC}\n", "")
    project.edit("  calibration: {path: calibration.npz}\n", "")
    project.build()
    runtime = project.dist / "cpu-int8" / "runtime.json"
    assert json.loads(runtime.read_text())["cpu"] == {"needs": list(toolchain.VNNI)}
    assert "needs avx512_vnni or avx_vnni, or no AVX2" in project.run("inspect", str(project.dist)).stdout
    edit_json(runtime, lambda value: value["cpu"].update(needs=["avx9000"]))
    seal(project.dist)
    assert "warning: not this CPU" in project.run("inspect", str(project.dist)).stdout
    done = project.run("verify", str(project.dist))
    assert done.returncode == 0, done.stderr
    assert "warning: this CPU lacks avx9000, which it needs" in done.stdout
