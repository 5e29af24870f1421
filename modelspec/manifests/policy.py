"""What no deployment may lack, whoever wrote its template: Pod Security `restricted`, and some of our own."""

import re
from collections.abc import Iterator
from typing import Any

from modelspec.errors import Diagnostic
from modelspec.manifests.documents import Document, Place

_PINNED = re.compile(r".+@sha256:[0-9a-f]{64}")
_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
_SELINUX = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
_SECCOMP = {"RuntimeDefault", "Localhost"}
_PODS: dict[str, Place] = {
    "Deployment": ("spec", "template", "spec"),
    "InferenceService": ("spec", "predictor"),
    "ServingRuntime": ("spec",),
}
"""Where each kind has its pod."""
Finding = tuple[str, Place, str]
"""What is wrong, where, and the fix."""


def check(document: Document) -> Iterator[Diagnostic]:
    """MS573 for each rule that the pod of a workload breaks."""
    kind = document.value["kind"]
    if kind not in _PODS or (kind == "InferenceService" and "containers" not in document.value["spec"]["predictor"]):
        return
    pod = document.value
    for step in _PODS[kind]:
        pod = pod[step]
    for message, place, fix in _pod(pod, sits_in_cluster=kind != "ServingRuntime"):
        yield document.problem("MS573", message, (*_PODS[kind], *place), fix)


def compose(document: Document) -> Iterator[Diagnostic]:
    """MS573 for each service of a compose file that is less confined than ours."""
    for name, service in document.value.get("services", {}).items():
        for message, key, fix in _service(service):
            place = ("services", name, key) if key in service else ("services", name)
            yield document.problem("MS573", message, place, fix)


def _service(service: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    if not _PINNED.fullmatch(service.get("image", "")):
        yield "the image is not given by its digest", "image", "write image: {{ image }}"
    if service.get("read_only") is not True:
        yield "the root file system can be written to", "read_only", "write read_only: true"
    if "ALL" not in service.get("cap_drop", ()) or service.get("cap_add"):
        yield "capabilities are not dropped", "cap_drop", "write cap_drop: [ALL], and no cap_add"
    if "no-new-privileges:true" not in service.get("security_opt", ()):
        yield "privileges may be escalated", "security_opt", 'write security_opt: ["no-new-privileges:true"]'
    if str(service.get("user", "0")).split(":")[0] in {"0", "root"}:
        yield "it runs as root", "user", "write user: 65532:65532"
    for key in ("privileged", "network_mode", "pid", "ipc", "userns_mode", "devices"):
        if service.get(key):
            yield f"{key} shares the machine with it", key, "remove it"


def _pod(pod: dict[str, Any], *, sits_in_cluster: bool) -> Iterator[Finding]:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield f"{key} shares the node with the pod", (key,), "remove it"
    if sits_in_cluster and pod.get("automountServiceAccountToken") is not False:
        yield "the pod gets a token of the cluster", (), "write automountServiceAccountToken: false"
    for index, volume in enumerate(pod.get("volumes", ())):
        if unknown := sorted(set(volume) - {"name"} - _VOLUMES):
            yield f"a volume of the type {unknown[0]}", ("volumes", index), f"use one of: {', '.join(sorted(_VOLUMES))}"
    context = pod.get("securityContext", {})
    if set(context.get("windowsOptions", {})) & {"hostProcess"}:
        yield "windowsOptions.hostProcess shares the node", ("securityContext",), "remove it"
    if context.get("sysctls"):
        yield "sysctls change the node", ("securityContext", "sysctls"), "remove them"
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(pod.get(kind, ())):
            for message, place, fix in (*_container(container), *_security(container, context)):
                yield message, (kind, index, *place), fix


def _container(container: dict[str, Any]) -> Iterator[Finding]:
    """Our own rules."""
    if not _PINNED.fullmatch(container.get("image", "")):
        yield "the image is not given by its digest", ("image",), "write image: {{ image }}"
    given = container.get("resources", {})
    for kind in ("requests", "limits"):
        if not {"cpu", "memory"} <= set(given.get(kind, {})):
            yield f"no {kind} of cpu and memory", ("resources",), "write resources: {{ resources }}"
    if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
        yield "the root file system can be written to", ("securityContext",), "write readOnlyRootFilesystem: true"
    for index, variable in enumerate(container.get("env", ())):
        if _SECRET.search(variable.get("name", "")) and "value" in variable:
            yield "a secret by its value", ("env", index), "write valueFrom: {secretKeyRef: {name: ..., key: ...}}"


_SECRET = re.compile(r"(?i)(password|passwd|secret|token|api_?key|credential)")


def _security(container: dict[str, Any], pod: dict[str, Any]) -> Iterator[Finding]:
    """The profile `restricted` of the Pod Security Standards."""
    own: dict[str, Any] = container.get("securityContext", {})
    place: Place = ("securityContext",)
    if own.get("privileged"):
        yield "privileged", place, "remove it"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "privileges may be escalated", place, "write allowPrivilegeEscalation: false"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", ()):
        yield "capabilities are not dropped", place, "write capabilities: {drop: [ALL]}"
    if set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
        yield "capabilities are added", place, "remove them"
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield "it may run as root", place, "write runAsNonRoot: true"
    if own.get("runAsUser", pod.get("runAsUser")) == 0:
        yield "it runs as root", place, "write runAsUser: 65532"
    if own.get("seccompProfile", pod.get("seccompProfile", {})).get("type") not in _SECCOMP:
        yield "system calls are not filtered", place, "write seccompProfile: {type: RuntimeDefault}"
    if own.get("procMount", "Default") != "Default":
        yield "procMount shows more of /proc", place, "remove it"
    for index, port in enumerate(container.get("ports", ())):
        if port.get("hostPort"):
            yield "a port of the node", ("ports", index), "remove hostPort"
    for context in (own, pod):
        if context.get("appArmorProfile", {}).get("type") == "Unconfined":
            yield "AppArmor is switched off", place, "remove it"
        labels = context.get("seLinuxOptions", {})
        if labels.get("user") or labels.get("role") or labels.get("type", "container_t") not in _SELINUX:
            yield "seLinuxOptions give it another confinement", place, "remove them"
