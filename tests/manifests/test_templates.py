"""Templates of users: they replace ours or join them, in the sandbox, and a bad one is refused with its line and reason."""

import re
from pathlib import Path
from typing import Any

import pytest

from modelspec import resources
from modelspec.errors import Diagnostic, ModelspecError
from modelspec.manifests.options import Manifests
from modelspec.manifests.write import write
from tests.manifests.conftest import FULL, SMALL, facts, load

OURS = sorted(path for path in resources.folder("templates").rglob("*.j2"))
NOTES = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: notes\n  labels: {{ labels }}\n"


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return folder


def ours(name: str, old: str, new: str) -> str:
    text = (resources.folder("templates") / name).read_text(encoding="utf-8")
    assert old in text
    return text.replace(old, new, 1)


def refused(tmp_path: Path, own: Path | None, block: dict[str, Any] = SMALL, **changed: Any) -> tuple[Diagnostic, ...]:
    target = tmp_path / "target"
    with pytest.raises(ModelspecError) as caught:
        write(Manifests.model_validate(block), facts(**changed), target, own)
    assert not target.exists()
    return caught.value.diagnostics


DEPLOYMENT, CONFIG = "kubernetes/deployment.yaml.j2", "kubernetes/notes.yaml.j2"
SECURITY = """\
          securityContext:
            allowPrivilegeEscalation: false
            privileged: false
            readOnlyRootFilesystem: true
            runAsNonRoot: true
            capabilities: {drop: [ALL]}
            seccompProfile: {type: RuntimeDefault}
"""
BAD: dict[str, tuple[str, str, str, str]] = {
    "undefined": (CONFIG, f"{NOTES}data:\n  a: {{{{ missing }}}}\n", "MS570", ":7: 'missing' is undefined"),
    "not a template": (CONFIG, f"{NOTES}{{% for x %}}\n", "MS570", ":6: "),
    "out of the sandbox": (CONFIG, f"{NOTES}data:\n  a: {{{{ labels.__class__ }}}}\n", "MS570", ":7: access to attribute"),
    "another file": (CONFIG, "{% include '/etc/passwd' %}", "MS570", ":1: "),
    "wrong indent": (DEPLOYMENT, ours(DEPLOYMENT, "      containers:", "     containers:"), "MS571", ":"),
    "part of a string": (CONFIG, f"{NOTES}data:\n  a: {{{{ name }}}}-x\n", "MS571", ":7: "),
    "quotes around": (CONFIG, f'{NOTES}data:\n  a: "{{{{ name }}}}"\n', "MS571", ":7: "),
    "twice the key": (CONFIG, f"{NOTES}kind: Secret\n", "MS571", ":6: duplicate key 'kind'"),
    "two objects": (CONFIG, f"{NOTES}---\n{NOTES}", "MS571", ":6: a second document"),
    "unknown key": (CONFIG, f"{NOTES}datas:\n  a: b\n", "MS572", "'datas' was unexpected"),
    "wrong type": (DEPLOYMENT, ours(DEPLOYMENT, "{{ replicas }}", '"2"'), "MS572", ":9: spec.replicas: '2' is not of type"),
    "unknown kind": (CONFIG, NOTES.replace("ConfigMap", "Pod"), "MS572", ":2: kind: 'Pod' of 'v1' is not a kind"),
    "no name": (CONFIG, "apiVersion: v1\nkind: ConfigMap\n", "MS572", "metadata.name is missing"),
    "not confined": (DEPLOYMENT, ours(DEPLOYMENT, SECURITY, ""), "MS573", "spec.template.spec.containers[0]"),
    "a tag": (DEPLOYMENT, ours(DEPLOYMENT, "{{ image }}", "digits:latest"), "MS573", ":45: spec.template.spec.containers[0].image: the image is not given by its digest"),
    "a token": (DEPLOYMENT, ours(DEPLOYMENT, "Token: false", "Token: true"), "MS573", "gets a token"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(BAD))
def test_bad_templates_are_refused_with_line_and_reason(case: str, tmp_path: Path) -> None:
    name, text, code, words = BAD[case]
    problems = refused(tmp_path, put(tmp_path / "own", name, text))
    assert {problem.code for problem in problems} == {code}
    assert any(re.match(rf"{re.escape(name)}:\d+: ", p.message) and words in p.message for p in problems), problems


COMPOSE = "compose/compose.yaml.j2"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{{ image }}", "digits"),
        ("read_only: true", "read_only: false"),
        ("cap_drop: [ALL]", "cap_drop: []"),
        ("cap_drop: [ALL]", "cap_drop: [ALL]\n    cap_add: [NET_ADMIN]"),
        ("65532:65532", "root"),
        ('["no-new-privileges:true"]', "[]"),
        ("restart:", "privileged: true\n    restart:"),
        ("restart:", "network_mode: host\n    restart:"),
    ],
)
def test_a_service_that_is_not_confined_is_refused(old: str, new: str, tmp_path: Path) -> None:
    own = put(tmp_path / "own", COMPOSE, ours(COMPOSE, old, new))
    (problem,) = refused(tmp_path, own, {"formats": ("compose",)})
    assert (problem.code, problem.message.startswith(f"{COMPOSE}:")) == ("MS573", True)


def test_an_error_points_to_the_key_of_the_spec(tmp_path: Path) -> None:
    own = put(tmp_path / "own", DEPLOYMENT, ours(DEPLOYMENT, "{{ replicas }}", "[{{ replicas }}]"))
    (problem,) = refused(tmp_path, own)
    assert problem.path == ("replicas",)
    assert problem.message.startswith(f"{DEPLOYMENT}:9: spec.replicas: [2] is not of type")


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    own = put(tmp_path / "own", CONFIG, f"{NOTES}datas: 1\nmore: 2\nimmutable: 3\n")
    put(own, DEPLOYMENT, ours(DEPLOYMENT, SECURITY, ""))
    assert len(refused(tmp_path, own)) == 5


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("kubernetes/readme.txt", ""),
        ("monitoring/rules.yaml.j2", "groups: []\n"),
        ("deployment.yaml.j2", ""),
        ("overlays/patch.yaml.j2", "[]"),
        ("kubernetes/kustomization.yaml.j2", "resources: []"),
        ("kubernetes/again.yaml.j2", ours("kubernetes/service.yaml.j2", "v1", "v1")),
    ],
)
def test_a_template_without_effect_is_refused(name: str, text: str, tmp_path: Path) -> None:
    assert {problem.code for problem in refused(tmp_path, put(tmp_path / "own", name, text))} == {"MS574"}


def test_templates_replace_ours_and_join_them(tmp_path: Path) -> None:
    own = put(tmp_path / "own", CONFIG, f"{NOTES}data:\n  version: {{{{ version }}}}\n")
    put(own, "kubernetes/service.yaml.j2", ours("kubernetes/service.yaml.j2", "ClusterIP", "NodePort"))
    target = tmp_path / "target"
    write(Manifests.model_validate(SMALL), facts(), target, own)
    assert load(target / "kubernetes" / "notes.yaml")["data"] == {"version": "1.0.0"}
    assert load(target / "kubernetes" / "service.yaml")["spec"]["type"] == "NodePort"
    assert "notes.yaml" in load(target / "kubernetes" / "kustomization.yaml")["resources"]


@pytest.mark.parametrize(
    ("serve", "block", "words"),
    [
        ({"api_keys": {"env": "KEYS"}}, SMALL, "api_keys where no pod has it"),
        ({"tls_cert": {"file": "/tls.crt"}}, SMALL, "tls_cert where no pod has it"),
        ({"tls_client_ca": {"secret": "ca", "key": "ca.crt"}}, SMALL, "probes have none"),
        ({"tls_cert": {"secret": "tls", "key": "tls.crt"}}, SMALL | {"ingress": FULL["ingress"]}, "the Gateway ends TLS"),
        ({"api_keys": {"secret": "keys", "key": "k"}}, {"formats": ("kubernetes", "monitoring")}, "asks Prometheus for a key"),
        ({"tls_cert": {"file": "/tls.crt"}}, {"formats": ("nginx",), "nginx": {"servers": ("a:1",)}}, "nginx speaks plain HTTP"),
    ],
)  # fmt: skip
def test_a_server_that_would_not_run_there_is_refused(serve: Any, block: Any, words: str, tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, None, block, serve=serve)
    assert problem.code == "MS365"
    assert words in problem.message


def test_our_templates_hold_no_decisions() -> None:
    manifests = [path for path in OURS if path.parent.name in {*FULL["formats"], "overlays"}]
    assert len(manifests) > 15
    for path in manifests:
        tags = re.findall(r"\{%-?\s*(\w+)", path.read_text(encoding="utf-8"))
        assert set(tags) <= {"for", "endfor"}, path
        assert "{#" not in path.read_text(encoding="utf-8")
