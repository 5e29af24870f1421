"""Options and facts -> what templates see. Every decision is taken here, so that templates hold none."""

import math
from collections.abc import Mapping
from typing import Any

from modelspec.errors import fail
from modelspec.manifests.documents import Place
from modelspec.manifests.facts import Facts, ServerFacts
from modelspec.manifests.options import Environment, Ingress, Manifests, Peer, Resources
from modelspec.manifests.promql import promql
from modelspec.manifests.scalars import kubernetes_size
from modelspec.runtime.references import MOUNT

_PROBE_S = 2
_PRE_STOP_S = 5
_METADATA_NAME = "kubernetes.io/metadata.name"

KEYS: Mapping[str, Place] = {
    "namespace": ("namespace",),
    "labels": ("labels",),
    "annotations": ("annotations",),
    "replicas": ("replicas",),
    "autoscale": ("autoscale",),
    "resources": ("resources",),
    "pull_secrets": ("pull_secret",),
    "start_attempts": ("start",),
    "progress_deadline": ("start",),
    "ingress": ("ingress",),
    "network": ("network",),
    "environment": ("environments",),
    "changes": ("environments",),
    "monitor": ("monitor",),
    "alerts": ("monitor", "alerts"),
    "token": ("monitor", "token"),
    "proxy": ("nginx",),
}
"""Names in templates -> the key below `manifests` that decides them."""


def values(block: Manifests, facts: Facts) -> dict[str, Any]:
    """All names that templates may use."""
    server = facts.server
    selector = {"app.kubernetes.io/name": facts.name, "app.kubernetes.io/instance": facts.name}
    own = {**selector, "app.kubernetes.io/managed-by": "modelspec"}
    start = math.ceil(block.start / _PROBE_S)
    return {
        "name": facts.name,
        "version": facts.version,
        "namespace": block.namespace,
        "labels": {**dict(sorted(block.labels.items())), **own},
        "annotations": {**dict(sorted(block.annotations.items())), "modelspec/model-version": facts.version},
        "selector": selector,
        "image": facts.image.reference,
        "digest": facts.image.digest,
        "repository": facts.image.repository,
        "kubernetes": block.kubernetes,
        "replicas": None if block.autoscale else block.replicas or 2,
        "autoscale": block.autoscale.model_dump() if block.autoscale else None,
        "resources": resources(block.resources),
        "pull_secrets": [{"name": block.pull_secret}] if block.pull_secret else None,
        "start_attempts": start,
        "progress_deadline": max(600, start * _PROBE_S + 60),
        "termination_grace": server.grace + _PRE_STOP_S + 5,
        "ports": _ports(facts),
        "scheme": "HTTPS" if server.tls else "HTTP",
        "secrets": _secrets(facts),
        "network": _network(block, facts),
        "ingress": _ingress(block.ingress, facts) if block.ingress else None,
        "monitor": block.monitor.model_dump(exclude={"alerts"}),
        "alerts": block.monitor.alerts.model_dump(mode="python"),
        "token": block.monitor.token.model_dump() if block.monitor.token else None,
        "promql": promql,
    }


def resources(given: Resources) -> dict[str, Any]:
    """Asked for and allowed alike."""
    amounts = {"cpu": given.cpu, "memory": kubernetes_size(given.memory)}
    return {"requests": amounts, "limits": amounts}


def _ports(facts: Facts) -> list[dict[str, Any]]:
    server = facts.server
    found = [{"name": "http", "number": server.port, "protocol": "https" if server.tls else "http"}]
    if server.grpc_port:
        found.append({"name": "grpc", "number": server.grpc_port, "protocol": "grpc"})
    return found


def _secrets(facts: Facts) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "volume": f"secret-{index}",
            "path": f"{MOUNT}/{name}",
            "files": [{"key": key, "path": key} for key in keys],
        }
        for index, (name, keys) in enumerate(facts.server.secrets.items())
    ]


def _peer(peer: Peer) -> dict[str, Any]:
    """Pods of a namespace; those of this one where none is named."""
    found: dict[str, Any] = {"podSelector": {"matchLabels": dict(sorted(peer.pods.items()))} if peer.pods else {}}
    if peer.namespace:
        found = {"namespaceSelector": {"matchLabels": {_METADATA_NAME: peer.namespace}}, **found}
    return found


def _network(block: Manifests, facts: Facts) -> dict[str, Any]:
    ports = [{"port": port["name"], "protocol": "TCP"} for port in _ports(facts)]
    declared = block.network.allow_from
    callers = [_peer(peer) for peer in ((Peer(),) if declared is None else declared)]
    if block.ingress:
        gateway = block.ingress.gateway
        callers.append(_peer(Peer(namespace=block.ingress.proxies or (gateway.namespace if gateway else None))))
    callers = [peer for index, peer in enumerate(callers) if peer not in callers[:index]]
    rules = [{"peers": callers, "ports": ports}] if callers else []
    if "monitoring" in block.formats:
        rules.append({"peers": [_peer(Peer(namespace=block.monitor.namespace))], "ports": ports[:1]})
    allowed = [
        {"peers": [_peer(peer)], "ports": [{"port": peer.port, "protocol": "TCP"}]} for peer in block.network.allow_to
    ]
    return {"ingress": rules, "egress": allowed}


def _ingress(given: Ingress, facts: Facts) -> dict[str, Any]:
    gateway = given.gateway
    parent = {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "name": gateway.name if gateway else facts.name,
        "namespace": gateway.namespace if gateway else None,
        "sectionName": gateway.listener if gateway else "https",
    }
    return {
        "host": given.host,
        "gateway_class": given.gateway_class,
        "tls_secret": given.tls_secret,
        "parent": parent,
        "port": facts.server.port,
    }


def require_fitting(block: Manifests, server: ServerFacts) -> None:
    """Raise MS365 where the server would not run or answer as the manifests say."""
    cluster = {"kubernetes", "kserve", "helm"} & set(block.formats)
    elsewhere = sorted(name for name, reference in server.references.items() if "secret" not in reference)
    if cluster and elsewhere:
        raise fail("MS365", f"the server reads {elsewhere[0]} where no pod has it: only secrets of the cluster can be mounted",
                   help="write {secret: NAME, key: KEY} in serve", path=("formats",))  # fmt: skip
    if cluster and "tls_client_ca" in server.settings:
        raise fail("MS365", "the server asks its callers for certificates, and Kubernetes' probes have none",
                   help="remove serve.tls.client_ca, and leave that to a service mesh; or deploy otherwise", path=("formats",))  # fmt: skip
    if "nginx" in block.formats and server.tls:
        raise fail("MS365", "nginx speaks plain HTTP to a server that expects TLS",
                   help="remove serve.tls, or leave nginx out of formats", path=("formats",))  # fmt: skip
    if block.ingress and server.tls:
        raise fail("MS365", "the Gateway ends TLS and speaks plain HTTP to a server that expects TLS",
                   help="remove serve.tls, or remove ingress", path=("ingress",))  # fmt: skip
    if server.has_keys and "monitoring" in block.formats and block.monitor.token is None:
        raise fail("MS365", "the server asks Prometheus for a key, and none is given",
                   help="add manifests.monitor.token: {secret: NAME, key: KEY}", path=("monitor",))  # fmt: skip


def overlay(environment: Environment, block: Manifests) -> list[tuple[str, list[dict[str, Any]]]]:
    """For one environment, the kinds that are changed, each with its changes."""
    container = "/spec/template/spec/containers/0"
    found: dict[str, list[dict[str, Any]]] = {}

    def change(kind: str, path: str, value: Any) -> None:
        found.setdefault(kind, []).append({"path": path, "value": value})

    if environment.replicas is not None:
        change("Deployment", "/spec/replicas", environment.replicas)
    if environment.resources is not None:
        change("Deployment", f"{container}/resources", resources(environment.resources))
    if environment.autoscale is not None:
        for field, value in (("min", environment.autoscale.min), ("max", environment.autoscale.max)):
            change("HorizontalPodAutoscaler", f"/spec/{field}Replicas", value)
        path = "/spec/metrics/0/resource/target/averageUtilization"
        change("HorizontalPodAutoscaler", path, environment.autoscale.cpu)
    if environment.host is not None:
        change("HTTPRoute", "/spec/hostnames/0", environment.host)
        if block.ingress and block.ingress.gateway is None:
            change("Gateway", "/spec/listeners/0/hostname", environment.host)
    return list(found.items())
