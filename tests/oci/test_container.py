"""A built image in a real engine: loaded from the layout's tar, read-only, as nobody, answering as the model did when it was built."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton

from modelspec.oci.contents import describe
from modelspec.oci.layout import Layout
from tests.build.conftest import SPEC, Project, write_data, write_model
from tests.oci import bases, services

HOSTILE = 'Digits"\nRUN id\nENTRYPOINT ["sh"] $(id) `id` \\'
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, base_tar: Path) -> Project:
    """The tiny project, with an image on a small Debian and a port of its own."""
    place = tmp_path_factory.mktemp("container")
    project = Project(place / "project", place / "cache")
    project.folder.mkdir()
    write_model(project.folder / "model.onnx")
    write_data(project.folder)
    bases.write(project.folder / "base", tar=base_tar)
    spec = SPEC.replace("  - {device: cpu}\n", "") + f"card: {{description: {json.dumps(HOSTILE)}}}\n"
    block = f"serve: {{port: {services.free_port()}}}\ncontainerize: {{base: 'oci:base', grpc_port: {services.free_port()}}}\n"
    project.spec.write_text(spec + block)
    project.build()
    return project


@pytest.fixture(scope="module")
def archive(built: Project) -> Path:
    """The layout as one file, for engines that know nothing of layouts."""
    path, layout = built.folder / "image.tar", built.dist / "cpu-int8/image"
    subprocess.run(["tar", "-C", layout, "-cf", path, *sorted(p.name for p in layout.iterdir())], check=True)
    return path


def docker(engine: str, *arguments: str) -> str:
    done = subprocess.run(["docker", "-H", engine, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return (done.stdout + done.stderr).strip()


@pytest.fixture
def container(engine: str, archive: Path) -> Iterator[str]:
    """It runs, on the host's network and with nothing to write to."""
    docker(engine, "load", "-i", str(archive))
    limits = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "host")
    id_ = docker(engine, "run", "-d", *limits, "tiny:1.0.0").splitlines()[-1]
    try:
        yield id_
    finally:
        docker(engine, "rm", "-f", id_)


def ready(project: Project, engine: str, container: str) -> "triton.InferenceServerClient":
    port = json.loads((project.dist / "cpu-int8/runtime.json").read_text())["serve"]["port"]
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if client.is_model_ready("tiny"):
                return client
        except OSError:
            time.sleep(0.1)
    pytest.fail(docker(engine, "logs", container))


def test_it_answers_as_it_did_and_stops_in_order(built: Project, engine: str, container: str) -> None:
    client = ready(built, engine, container)
    golden = built.dist / "cpu-int8/golden"
    with np.load(golden / "inputs.npz") as inputs, np.load(golden / "outputs.npz") as outputs:
        asked = triton.InferInput("x", list(inputs["x"].shape), "FP32")
        asked.set_data_from_numpy(inputs["x"])
        found = client.infer("tiny", [asked]).as_numpy("logits")
        np.testing.assert_allclose(found, outputs["logits"], rtol=1e-5, atol=1e-6)
    client.close()
    assert docker(engine, "exec", container, "id", "-u") == "65532"
    refused = subprocess.run(["docker", "-H", engine, "exec", container, "touch", "/models/x"], capture_output=True)
    assert refused.returncode != 0
    healthcheck = json.loads(docker(engine, "inspect", "tiny:1.0.0"))[0]["Config"]["Healthcheck"]["Test"][1:]
    docker(engine, "exec", container, *healthcheck)
    docker(engine, "stop", "-t", "60", container)
    state = json.loads(docker(engine, "inspect", container))[0]["State"]
    assert state["ExitCode"] in {0, 128 + signal.SIGTERM}
    assert not state["OOMKilled"]
    log = docker(engine, "logs", container)
    assert "Traceback" not in log
    assert '"event":"stopped"' in log or '"event":"drain' in log, log


def test_the_engine_sees_the_layers_of_the_build(built: Project, engine: str, container: str) -> None:
    image = json.loads(docker(engine, "inspect", "tiny:1.0.0"))[0]
    said = describe(Layout(built.dist / "cpu-int8/image")).images[0]
    assert image["RootFS"]["Layers"] == [layer.diff_id for layer in said.layers]
    assert image["Config"]["User"] == "65532:65532"
    assert image["Config"]["Labels"]["org.opencontainers.image.title"] == "tiny"
    assert image["Config"]["Labels"]["org.opencontainers.image.description"] == HOSTILE


def test_skopeo_reads_image_and_artifact(built: Project, archive: Path, tmp_path: Path) -> None:
    services.need("skopeo")
    said = describe(Layout(built.dist / "cpu-int8/image"))
    layout = built.dist / "cpu-int8/image"
    assert said.artifact is not None
    for tag, expected in (("1.0.0", said.deployed), ("1.0.0-model", said.artifact)):
        copied = tmp_path / tag
        subprocess.run(
            ["skopeo", "copy", "--quiet", "--preserve-digests", f"oci:{layout}:{tag}", f"oci:{copied}:{tag}"],
            check=True,
            timeout=120,
        )
        assert Layout(copied).index()[0].digest == expected.digest
    done = subprocess.run(
        ["skopeo", "inspect", f"docker-archive:{archive}"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
