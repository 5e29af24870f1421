"""What waits for the gates: it runs after they passed, and not at all where one fails."""

import json
import shutil
from pathlib import Path

import pytest

from tests.build.conftest import MakeProject, Project

ROOT = Path(__file__).parents[2]
STAGE = '''\
"""Writes the bytes of the artifact down."""

from collections.abc import Mapping
from typing import ClassVar

from modelspec.stage import Determinism, Job, Stage


class Seal(Stage):
    """artifact -> seal."""

    name: ClassVar[str] = "seal"
    summary: ClassVar[str] = "for this test"
    revision: ClassVar[int] = 1
    gated: ClassVar[bool] = True
    after: ClassVar[tuple[str, ...]] = ("compile",)
    takes: ClassVar[tuple[str, ...]] = ("artifact",)
    gives: ClassVar[tuple[str, ...]] = ("seal",)
    publishes: ClassVar[Mapping[str, str]] = {"seal": "seal"}
    determinism: ClassVar[Determinism] = Determinism.EXACT

    def run(self, job: Job) -> None:
        (job.output("seal") / "size.txt").write_text(str((job.input("artifact") / "model.onnx").stat().st_size))
'''


@pytest.fixture
def sealed(make_project: MakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The tiny project, built by a copy of the package that has one more stage, which waits for the gates."""
    copy = tmp_path / "copy"
    for folder in ("modelspec", "templates", "schemas"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "modelspec/stages/seal.py").write_text(STAGE)
    monkeypatch.setenv("PYTHONPATH", str(copy))
    project = make_project()
    project.spec.write_text(project.spec.read_text() + "seal: {}\n")
    return project


def states(project: Project) -> dict[str, str]:
    return {a["label"]: a["state"] for a in json.loads((project.dist / "build.json").read_text())["actions"]}


def test_it_runs_last_and_then_is_cached(sealed: Project) -> None:
    said = sealed.build()
    assert states(sealed)["seal@cpu-int8"] == "ran"
    started = [line.split()[0] for line in said.splitlines() if " run " in line]
    assert sorted(started[-2:]) == ["seal@cpu-fp32", "seal@cpu-int8"], "after all that the gates judge"
    assert len(started) == len(set(started)), "each is named once"
    assert (sealed.dist / "cpu-int8/seal/size.txt").read_text().isdigit()
    assert "nothing to do" in sealed.build()


def test_a_failed_gate_keeps_it_from_running(sealed: Project) -> None:
    sealed.edit("min: 0.5", "min: 1.01")
    said = sealed.build(exits=1)
    assert "MS502" in said
    assert " seal@cpu-int8 " not in said.split("plan ")[1]
    assert not sealed.dist.exists()
    sealed.edit("min: 1.01", "min: 0.5")
    assert "2 ran" in sealed.build(), "only what waited was left to do"


def test_until_a_stage_that_waits_the_gates_judge_all_the_same(sealed: Project) -> None:
    sealed.edit("min: 0.5", "min: 1.01")
    assert "MS502" in sealed.build("--until", "seal", exits=1)
    assert "nothing is published" in sealed.build("--until", "evaluate"), "what comes before is judged by none"
    sealed.edit("min: 1.01", "min: 0.5")
    assert "nothing is published" in sealed.build("--until", "seal")
    assert not sealed.dist.exists()


def test_bytes_lost_between_the_phases_are_made_again(sealed: Project) -> None:
    sealed.build()
    files = json.loads((sealed.dist / "build.json").read_text())["actions"]
    artifact = next(a["outputs"][0]["sha256"] for a in files if a["label"] == "compile@cpu-int8")
    blob = sealed.cache / "v1/cas/sha256" / artifact[:2] / artifact
    size = blob.stat().st_size
    blob.chmod(0o644)
    blob.write_bytes(b"\0" * size)
    said = sealed.build("--no-cache", "seal")
    assert "its cached result was lost or damaged" in said
    assert "wrote" in said or "nothing to do" in said or "replaced" in said
