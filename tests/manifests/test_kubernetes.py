"""Objects of Kubernetes: valid on every version, confined, and the same each time."""

import copy
import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from modelspec.manifests import policy
from modelspec.manifests.documents import Document, Origin
from modelspec.manifests.options import Kubernetes, Manifests
from modelspec.manifests.write import render
from modelspec.spec.positions import Positions
from tests.manifests.conftest import BLOCKS, FULL, SMALL, facts, load, tool, written


@pytest.mark.parametrize("version", get_args(Kubernetes))
@pytest.mark.parametrize("block", list(BLOCKS))
def test_valid_on_every_version(block: str, version: str) -> None:
    assert render(Manifests.model_validate(BLOCKS[block] | {"kubernetes": version}), facts())


def test_kinds(full: Path) -> None:
    kinds = {load(path)["kind"] for path in (full / "kubernetes").iterdir()}
    assert kinds == {
        "Deployment", "Service", "ServiceAccount", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy",
        "HTTPRoute", "Gateway", "Kustomization",
    }  # fmt: skip


def test_every_file_says_the_same_to_another_reader(output: Path) -> None:
    from modelspec.spec import yaml as strict

    for path in output.rglob("*.yaml"):
        if "templates" not in path.parts:
            ours = json.loads(json.dumps(strict.parse(path.read_bytes()).data))
            assert ours == load(path), path


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    first, second = (written(tmp_path / name, FULL) for name in ("a", "b"))
    files = {path.relative_to(first): path.read_bytes() for path in first.rglob("*") if path.is_file()}
    assert files == {path.relative_to(second): path.read_bytes() for path in second.rglob("*") if path.is_file()}


def test_a_change_of_replicas_is_one_line_of_one_file(tmp_path: Path) -> None:
    one, other = (written(tmp_path / str(n), SMALL | {"replicas": n}) for n in (3, 4))
    changed = []
    for path in one.rglob("*.yaml"):
        after = (other / path.relative_to(one)).read_text().splitlines()
        changed += [line for line in difflib.ndiff(path.read_text().splitlines(), after) if line[0] in "+-"]
    assert changed == ["-   replicas: 3", "+   replicas: 4"] or changed == ["-   replicas: 3", "+   replicas: 4"][::-1]


def test_the_image_is_given_by_its_digest_everywhere(full: Path) -> None:
    images = [
        line
        for path in full.rglob("*")
        if path.is_file()
        for line in path.read_text().splitlines()
        if " image: " in line and "{{" not in line
    ]
    assert len(images) >= 3
    assert all("registry.example/vision/digits@sha256:" in line for line in images)  # fmt: skip


def test_secrets_are_mounted_where_the_server_looks(full: Path) -> None:
    from modelspec.runtime.references import MOUNT

    pod = load(full / "kubernetes" / "deployment.yaml")["spec"]["template"]["spec"]
    mount = next(m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "secret-0")
    assert mount == {"name": "secret-0", "mountPath": f"{MOUNT}/digits-keys", "readOnly": True}
    secret = next(v for v in pod["volumes"] if v["name"] == "secret-0")["secret"]
    assert (secret["secretName"], secret["items"]) == ("digits-keys", [{"key": "keys.txt", "path": "keys.txt"}])


def test_the_network_is_denied_but_for_what_is_declared(full: Path, tmp_path: Path) -> None:
    spec = load(full / "kubernetes" / "networkpolicy.yaml")["spec"]
    name = "kubernetes.io/metadata.name"
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"][0]["from"] == [
        {"namespaceSelector": {"matchLabels": {name: "shop"}}, "podSelector": {"matchLabels": {"app": "web"}}},
        {"podSelector": {}},  # its own Gateway is here
    ]
    assert spec["ingress"][1]["from"] == [
        {"namespaceSelector": {"matchLabels": {name: "monitoring"}}, "podSelector": {}}
    ]
    assert [rule["ports"] for rule in spec["egress"]] == [[{"port": 4317, "protocol": "TCP"}]]
    closed = written(tmp_path / "closed", SMALL | {"network": {"allow_from": ()}})
    assert not {"ingress", "egress"} & set(load(closed / "kubernetes" / "networkpolicy.yaml")["spec"])


def test_kustomize_builds_base_and_overlay(full: Path) -> None:
    kubectl = tool("kubectl")
    base = list(yaml.safe_load_all(kubectl("kustomize", full / "kubernetes")))
    overlay = list(yaml.safe_load_all(kubectl("kustomize", full / "overlays" / "production")))
    assert len(base) == len(overlay) == 8
    by_kind = {item["kind"]: item for item in overlay}
    assert {item["metadata"]["namespace"] for item in overlay} == {"production"}
    assert by_kind["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] == 16
    assert by_kind["HTTPRoute"]["spec"]["hostnames"] == ["digits.example.org"]
    assert by_kind["Gateway"]["spec"]["listeners"][0]["hostname"] == "digits.example.org"
    assert by_kind["Deployment"]["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "4"


SKIPPED: dict[str, str] = {}
"""Checks of checkov that do not hold, each with the reason."""


def test_checkov_finds_nothing(full: Path) -> None:
    checkov = tool("checkov")
    command = ["-d", full / "kubernetes", "--framework", "kubernetes", "--skip-download", "-o", "json", "--compact"]
    found = json.loads(checkov(*command, *(["--skip-check", ",".join(SKIPPED)] if SKIPPED else [])))
    assert found["summary"]["passed"] > 80
    assert found["results"]["failed_checks"] == []


BROKEN: dict[str, tuple[tuple[Any, ...], Any]] = {
    "host network": (("hostNetwork",), True),
    "host processes": (("hostPID",), True),
    "host path": (("volumes", 0), {"name": "scratch", "hostPath": {"path": "/"}}),
    "token": (("automountServiceAccountToken",), True),
    "root": (("securityContext", "runAsUser"), 0),
    "unconfined": (("containers", 0, "securityContext", "seccompProfile"), {"type": "Unconfined"}),
    "privileged": (("containers", 0, "securityContext", "privileged"), True),
    "escalation": (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True),
    "capabilities kept": (("containers", 0, "securityContext", "capabilities"), {"drop": ["NET_RAW"]}),
    "capabilities added": (
        ("containers", 0, "securityContext", "capabilities"),
        {"drop": ["ALL"], "add": ["SYS_ADMIN"]},
    ),
    "as root": (("containers", 0, "securityContext", "runAsNonRoot"), False),
    "host port": (("containers", 0, "ports", 0), {"containerPort": 80, "hostPort": 80}),
    "proc": (("containers", 0, "securityContext", "procMount"), "Unmasked"),
    "AppArmor": (("securityContext", "appArmorProfile"), {"type": "Unconfined"}),
    "SELinux": (("securityContext", "seLinuxOptions"), {"user": "system_u"}),
    "sysctls": (("securityContext", "sysctls"), [{"name": "kernel.msgmax", "value": "1"}]),
    "Windows": (("securityContext", "windowsOptions"), {"hostProcess": True}),
    "tag": (("containers", 0, "image"), "registry.example/digits:1.0.0"),
    "no limits": (("containers", 0, "resources"), {"requests": {"cpu": "1", "memory": "1Gi"}}),
    "writable": (("containers", 0, "securityContext", "readOnlyRootFilesystem"), False),
    "secret": (("containers", 0, "env"), [{"name": "API_TOKEN", "value": "x"}]),
}


def _workloads(folder: Path) -> Iterator[dict[str, Any]]:
    yield load(folder / "kubernetes" / "deployment.yaml")
    yield load(folder / "kserve" / "servingruntime.yaml")
    yield load(folder / "kserve" / "inferenceservice.yaml")


def _check(value: dict[str, Any]) -> list[str]:
    found = policy.check(Document(value, Origin("t.yaml.j2", ("",), {}), (1,), Positions()))
    return [problem.code for problem in found]


def test_every_workload_is_confined(full: Path) -> None:
    assert [_check(value) for value in _workloads(full)] == [[], [], []]


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_workload_that_is_not_confined_is_refused(full: Path, case: str) -> None:
    path, value = BROKEN[case]
    deployment = copy.deepcopy(load(full / "kubernetes" / "deployment.yaml"))
    place = deployment["spec"]["template"]["spec"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert _check(deployment) == ["MS573"]
