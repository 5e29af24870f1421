"""Manifests as a build publishes them: for the image it made, after the gates, and the same each time."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelspec.oci.contents import describe
from modelspec.oci.layout import Layout
from tests.build.conftest import MakeProject, Project, deployed

pytestmark = pytest.mark.slow

IMAGE = "containerize: {image: registry.example/vision/tiny, base: 'oci:base'}\n"
FORMATS = "[kubernetes, monitoring, kserve, helm, triton, compose, nginx]"
BLOCK = f"{IMAGE}manifests:\n  formats: {FORMATS}\n  replicas: 3\n  nginx: {{servers: ['10.0.0.7:8080']}}\n"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of the server are brought once."""
    return tmp_path_factory.mktemp("manifests") / "cache"


@pytest.fixture
def project(make_project: MakeProject, cache: Path) -> Project:
    return deployed(make_project(), cache, BLOCK)


def load(project: Project, path: str) -> Any:
    return yaml.safe_load((project.dist / "cpu-int8" / "manifests" / path).read_text())


def test_a_build_publishes_manifests_of_its_image(project: Project) -> None:
    project.build()
    deployed = describe(Layout(project.dist / "cpu-int8" / "image")).deployed.digest
    container = load(project, "kubernetes/deployment.yaml")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == f"registry.example/vision/tiny@{deployed}"
    folders = {path.name for path in (project.dist / "cpu-int8" / "manifests").iterdir()}
    assert folders == {"kubernetes", "monitoring", "kserve", "helm", "triton", "compose", "nginx"}
    model = project.dist / "cpu-int8" / "model.onnx"
    triton = project.dist / "cpu-int8" / "manifests" / "triton" / "tiny" / "1" / "model.onnx"
    assert triton.read_bytes() == model.read_bytes()
    assert "manifests/kubernetes/deployment.yaml" in (project.dist / "checksums.txt").read_text()


def test_a_change_of_replicas_changes_one_line_and_no_image(project: Project) -> None:
    project.build()
    before = {p: p.read_text() for p in (project.dist / "cpu-int8" / "manifests").rglob("*.yaml")}
    image = json.loads((project.dist / "cpu-int8" / "image" / "index.json").read_text())
    project.edit("replicas: 3", "replicas: 4")
    project.build()
    changed = {p.name: (old, p.read_text()) for p, old in before.items() if p.read_text() != old}
    # The other formats say it once each in their own file.
    assert sorted(changed) == ["deployment.yaml", "inferenceservice.yaml", "values.yaml"]
    old, new = (text.splitlines() for text in changed["deployment.yaml"])
    assert [(a, b) for a, b in zip(old, new, strict=True) if a != b] == [("  replicas: 3", "  replicas: 4")]
    assert json.loads((project.dist / "cpu-int8" / "image" / "index.json").read_text()) == image


def test_a_bad_template_publishes_nothing_and_shows_the_line(project: Project) -> None:
    folder = project.folder / "templates" / "kubernetes"
    folder.mkdir(parents=True)
    (folder / "notes.yaml.j2").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ missing }}\n")
    project.edit("  replicas: 3\n", "  replicas: 3\n  templates: templates\n")
    err = project.build(exits=3)
    assert "error[MS570]" in err
    assert "kubernetes/notes.yaml.j2:4: 'missing' is undefined" in err
    assert "templates: templates\n" in err
    assert not project.dist.exists()
    (folder / "notes.yaml.j2").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ name ~ '-notes' }}\n")
    project.build()
    assert load(project, "kubernetes/notes.yaml")["metadata"]["name"] == "tiny-notes"
