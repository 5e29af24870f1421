"""`modelspec diff`: what a reviewer is told of two builds."""

import json
import shutil
from pathlib import Path

import pytest

from tests.build.conftest import MakeProject, Project

pytestmark = pytest.mark.slow


@pytest.fixture
def pair(make_project: MakeProject) -> tuple[Project, Path]:
    """A build, and what it was before the method of quantization changed."""
    project = make_project()
    project.build()
    before = project.folder / "before"
    shutil.copytree(project.dist, before)
    project.edit("method: static", "method: dynamic")
    project.edit(", data: calibration, ranges: minmax", "")
    project.edit("  calibration: {path: calibration.npz}\n", "")
    project.build()
    return project, before


def test_the_same_build_is_the_same(project: Project) -> None:
    project.build()
    done = project.run("diff", str(project.dist), str(project.dist))
    assert done.returncode == 0
    assert "the published files are the same" in done.stdout


def test_a_changed_model_shows_in_figures_graph_and_files(pair: tuple[Project, Path]) -> None:
    project, before = pair
    found = json.loads(project.run("diff", str(before), str(project.dist), "--format", "json").stdout)
    assert found["spec_changed"]
    assert "quantize" in found["stages"]
    target = next(target for target in found["targets"] if target["label"] == "cpu-int8")
    assert "model.onnx" in {change["name"] for change in target["files"]}
    assert target["operators"]
    size = next(change for change in target["metrics"] if change["name"] == "size")
    assert size["old"] != size["new"]
    other = next(target for target in found["targets"] if target["label"] != "cpu-int8")
    assert other["operators"] == []


def test_manifests_are_shown_as_a_diff_that_nothing_in_them_can_end(project: Project) -> None:
    project.build()
    after = project.folder / "after"
    for folder, replicas in ((project.dist, 2), (None, 3)):
        if folder is None:
            shutil.copytree(project.dist, after)
        place = (folder or after) / "cpu-int8" / "manifests" / "kubernetes"
        place.mkdir(parents=True, exist_ok=True)
        text = f"note: '```'\n# **x**\nreplicas: {replicas}\n"
        (place / "deployment.yaml").write_text(text)
    markdown = project.run("diff", str(project.dist), str(after), "--format", "markdown").stdout
    assert "    -replicas: 2\n    +replicas: 3\n" in markdown
    assert not [line for line in markdown.splitlines() if "```" in line and not line.startswith("    ")]
    assert "| accuracy | " in markdown
    assert "-replicas: 2" in project.run("diff", str(project.dist), str(after)).stdout


def test_what_is_no_build_is_refused(project: Project, tmp_path: Path) -> None:
    project.build()
    done = project.run("diff", str(project.dist), str(tmp_path))
    assert done.returncode == 2
    assert "error[MS325]" in done.stderr
