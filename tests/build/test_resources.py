"""What pods request: pinned by `build --update benchmark` and by nothing else, unless it is written."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.build.conftest import MakeProject, Project, deployed

pytestmark = pytest.mark.slow

IMAGE = "containerize: {image: registry.example/vision/tiny, base: 'oci:base'}\n"
BLOCK = f"benchmark: {{threads: 2, repeats: 10}}\n{IMAGE}manifests:\n  formats: [kubernetes]\n"
DEFAULT = {"cpu": "1", "memory": "1Gi"}
LABEL = "cpu-int8"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of the server are brought once."""
    return tmp_path_factory.mktemp("resources") / "cache"


@pytest.fixture
def project(make_project: MakeProject, cache: Path) -> Project:
    return deployed(make_project(), cache, BLOCK)


def lock(project: Project) -> Path:
    return project.folder / "model.lock"


def pinned(project: Project) -> dict[str, str]:
    """The resources in model.lock."""
    found = yaml.safe_load(lock(project).read_text())["found"]
    end = f" of a pod of {LABEL}"
    return {name.removesuffix(end): value["request"] for name, value in found.items() if name.endswith(end)}


def requested(project: Project) -> Any:
    deployment = yaml.safe_load((project.dist / LABEL / "manifests/kubernetes/deployment.yaml").read_text())
    resources = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources["requests"] == resources["limits"]
    return resources["requests"]


def expected(project: Project) -> str:
    """The memory in MiB, by the documented formula and the figures of the build."""
    build = json.loads((project.dist / "build.json").read_text())
    needed = 1.5 * build["metrics"][LABEL]["peak_memory"] / 2**20 + 16 * 8
    return f"{int(-(-needed // 64) * 64)}Mi"


def test_only_update_benchmark_pins_and_every_other_build_honours_it(project: Project) -> None:
    project.build()
    assert (pinned(project), requested(project)) == ({}, DEFAULT)
    project.build("--locked")  # without pins it is up to date
    project.build("--update")
    project.build("--update", "evaluate")
    assert (pinned(project), requested(project)) == ({}, DEFAULT)
    said = project.build("--update", "benchmark")
    assert "manifests.pinned unset -> " in said, "the manifests of this very build have them"
    measured = {"cpu": "2", "memory": expected(project)}
    assert requested(project) == measured
    assert pinned(project) == {"cpu": "2", "memory": measured["memory"] + "B"}
    before = lock(project).read_bytes()
    for arguments in ((), ("--locked",), ("--update",), ("--update", "evaluate"), ("--no-cache", "benchmark")):
        project.build(*arguments)
        assert (lock(project).read_bytes(), requested(project)) == (before, measured), arguments
    assert "nothing to do" in project.build("--update", "benchmark")
    assert project.run("lock-check", str(project.spec)).returncode == 0


def test_another_machine_takes_them_from_the_lock(project: Project) -> None:
    """As if the lock came from a larger machine: nothing here says otherwise until it is asked."""
    project.build("--update", "benchmark")
    mine = requested(project)
    lock(project).write_text(lock(project).read_text().replace('"request": "2"', '"request": "7"'))
    assert "manifests.pinned.cpu 2 -> 7" in project.run("plan").stdout.replace('"', "")
    project.build()
    assert requested(project) == mine | {"cpu": "7"}
    project.build("--locked")
    project.run("render", "kubernetes", "--to", "rendered")
    assert 'cpu: "7"' in (project.folder / "rendered/kubernetes/deployment.yaml").read_text()
    project.build("--update", "benchmark")
    assert requested(project) == mine


def test_what_is_written_wins_and_is_not_pinned(project: Project) -> None:
    project.build("--update", "benchmark")
    memory = requested(project)["memory"]
    project.spec.write_text(project.spec.read_text() + "  resources: {cpu: '3'}\n")
    done = project.run("build", "--locked")
    assert done.returncode == 5
    assert f"'cpu of a pod of {LABEL}' is no longer used" in done.stderr
    project.build("--update", "benchmark")
    assert requested(project) == {"cpu": "3", "memory": memory}
    assert pinned(project) == {"memory": f"{memory}B"}
    project.edit("resources: {cpu: '3'}", "resources: {cpu: '3', memory: 2GiB}")
    project.build("--update", "benchmark")
    assert (requested(project), pinned(project)) == ({"cpu": "3", "memory": "2Gi"}, {})


def test_a_failed_gate_pins_nothing(project: Project) -> None:
    project.build()
    before = lock(project).read_bytes()
    project.edit("min: 0.5", "min: 1.01")
    assert "MS502" in project.build("--update", "benchmark", exits=1)
    assert (lock(project).read_bytes(), requested(project)) == (before, DEFAULT)


def test_what_is_no_amount_is_refused(project: Project) -> None:
    project.build("--update", "benchmark")
    lock(project).write_text(lock(project).read_text().replace('"request": "2"', '"request": "some"'))
    said = project.build(exits=2)
    assert f"error[MS366]: model.lock pins 'some' as the cpu of a pod of {LABEL}" in said


def test_each_target_has_its_own(project: Project) -> None:
    project.spec.write_text(project.spec.read_text().replace("targets:\n", "targets:\n  - {device: cpu}\n"))
    project.build("--update", "benchmark")
    before = lock(project).read_bytes()
    lock(project).write_text(lock(project).read_text().replace('"request": "2"', '"request": "7"'))
    assert lock(project).read_text().count('"request": "7"') == 2
    project.build("--target", LABEL, "--update", "benchmark")
    assert (pinned(project)["cpu"], lock(project).read_text().count('"request": "7"')) == ("2", 1)
    project.build("--update", "benchmark")
    assert lock(project).read_bytes() == before
