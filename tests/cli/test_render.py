"""`modelspec render`: manifests without a build."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

SPEC = """\
apiVersion: modelspec/v1
name: digits
version: "1.0.0"
source: {framework: onnx, artifact: model.onnx}
targets: [{device: cpu}]
serve: {port: 9000}
containerize: {image: registry.example/elsewhere/digits}
manifests: {formats: [kubernetes, monitoring], replicas: 3}
"""
IMAGE = f"registry.example/vision/digits@sha256:{'ab' * 32}"


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "modelspec", "render", *arguments]
    return subprocess.run(command, cwd=folder, env=dict(os.environ), capture_output=True, text=True, timeout=120)


@pytest.fixture
def spec(project: Path) -> Path:
    (project / "model.yaml").write_text(SPEC)
    return project


def test_of_an_image_that_is_there(spec: Path) -> None:
    done = run(spec, "--image", IMAGE)
    assert done.returncode == 0, done.stderr
    assert "manifests/kubernetes/deployment.yaml" in done.stdout.splitlines()
    pod = yaml.safe_load((spec / "manifests/kubernetes/deployment.yaml").read_text())["spec"]
    (container,) = pod["template"]["spec"]["containers"]
    assert (container["image"], pod["replicas"], container["ports"][0]["containerPort"]) == (IMAGE, 3, 9000)


def test_one_format_that_the_spec_does_not_ask_for(spec: Path) -> None:
    done = run(spec, "compose", "--image", IMAGE, "--to", "out")
    assert (done.returncode, done.stdout) == (0, "out/compose/compose.yaml\n"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), "MS325"),
        (("--image", "registry.example/digits:latest"), "MS325"),
        (("nginx", "--image", IMAGE), "MS325"),
        (("triton", "--image", IMAGE), "MS325"),
        (("--target", "cuda", "--image", IMAGE), "MS308"),
    ],
)
def test_what_is_not_known_is_asked_for(spec: Path, arguments: tuple[str, ...], code: str) -> None:
    done = run(spec, *arguments)
    assert done.returncode == 2
    assert f"error[{code}]" in done.stderr
    assert not (spec / "manifests").exists()


def test_a_bad_template_is_told_with_the_line_of_the_spec(spec: Path) -> None:
    folder = spec / "templates" / "kubernetes"
    folder.mkdir(parents=True)
    (folder / "notes.yaml.j2").write_text("a: {{ missing }}\n")
    (spec / "model.yaml").write_text(SPEC.replace("replicas: 3", "replicas: 3, templates: templates"))
    done = run(spec, "--image", IMAGE)
    assert done.returncode == 3
    assert "error[MS570]: kubernetes/notes.yaml.j2:1: 'missing' is undefined" in done.stderr
    assert "model.yaml:8:" in done.stderr
    assert not (spec / "manifests").exists()
