"""The block `manifests:`: what a platform team decides, and nothing that would have no effect."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from modelspec.manifests.scalars import Address, Cpu, DnsLabel, DnsName, FilePath, LabelKey, LabelValue
from modelspec.options import Duration, Options, ProjectPath, Size, refuse

Format = Literal["kubernetes", "monitoring", "kserve", "helm", "triton", "compose", "nginx"]
Kubernetes = Literal["1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"]
_FINEST, _LONGEST = 0.001, 30
Labels = dict[LabelKey, LabelValue]
Share = Annotated[float, Field(gt=0, lt=1)]


class Autoscale(Options):
    """Between how many pods the load decides."""

    min: int = Field(ge=1, le=1000, description="Pods at the least.", examples=[2])
    max: int = Field(ge=1, le=1000, description="Pods at the most.", examples=[8])
    cpu: int = Field(70, ge=1, le=100, description="Use of the processors that is aimed at, in percent.", examples=[70])

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max <= self.min:
            raise refuse("MS215", "max is not above min: nothing would scale", "raise max, or write replicas instead")
        return self


class Resources(Options):
    """What one pod is given: asked for and allowed alike, so that nobody else's load changes its latency."""

    cpu: Cpu = Field("1", description="Processors.", examples=["2"])
    memory: Size = Field("1GiB", description="Memory.", examples=["512MiB"], validate_default=True)


class Gateway(Options):
    """A Gateway that is there already, with a certificate of its own."""

    name: DnsName = Field(description="Name of the Gateway.", examples=["public"])
    namespace: DnsLabel | None = Field(None, description="Where it is; here when left out.", examples=["gateways"])
    listener: DnsName | None = Field(None, description="Its listener; all of them when left out.", examples=["https"])


class Ingress(Options):
    """How the model is reached from outside: over TLS, and only its own paths."""

    host: DnsName = Field(description="Name under which it is reached.", examples=["digits.example.com"])
    gateway: Gateway | None = Field(None, description="The Gateway in front of it.", examples=[{"name": "public"}])
    gateway_class: DnsName | None = Field(
        None, description="Class of a Gateway of its own, which ends TLS.", examples=["istio"]
    )
    tls_secret: DnsName | None = Field(
        None, description="Secret with that Gateway's certificate.", examples=["digits-tls"]
    )
    proxies: DnsLabel | None = Field(
        None,
        description="Namespace whose pods carry the Gateway's traffic; the Gateway's own when left out.",
        examples=["envoy-gateway-system"],
    )

    @model_validator(mode="after")
    def _one_gateway(self) -> Self:
        own = (self.gateway_class, self.tls_secret)
        if (self.gateway is None) == (own == (None, None)) or (self.gateway is None and None in own):
            raise refuse(
                "MS361",
                "either a Gateway that is there, or the class and the certificate of an own one",
                "write gateway: {name: ...}, or gateway_class and tls_secret",
            )
        return self


class Peer(Options):
    """Pods, by the labels of their namespace and their own."""

    namespace: DnsLabel | None = Field(None, description="Their namespace; here when left out.", examples=["shop"])
    pods: Labels = Field(default_factory=dict, description="Their labels; all pods when left out.", examples=[{"app": "web"}])  # fmt: skip


class Destination(Peer):
    """Pods, and the port they may be called at."""

    port: int = Field(ge=1, le=65535, description="TCP port.", examples=[4317])


class Network(Options):
    """Who may call the model, and whom it may call. What is not declared is denied."""

    allow_from: tuple[Peer, ...] | None = Field(
        None,
        description="Pods that may call it, besides the Gateway and Prometheus; those of its namespace when left out.",
        examples=[[{"namespace": "shop", "pods": {"app": "web"}}]],
    )
    allow_to: tuple[Destination, ...] = Field(
        (), description="Pods that it may call; it needs none.", examples=[[{"namespace": "telemetry", "port": 4317}]]
    )


class Alerts(Options):
    """When someone is told. These are thresholds of operation: gates judge a build, not a day."""

    latency_p99: Duration = Field(
        "500ms", description="Slower answers than this.", examples=["50ms"], validate_default=True
    )
    error_rate: Share = Field(0.01, description="A larger share of failed requests.", examples=[0.001])
    refused_rate: Share = Field(0.01, description="A larger share turned away for want of room.", examples=[0.05])
    out_of_range_rate: Share = Field(0.05, description="A larger share with inputs out of range.", examples=[0.01])

    @model_validator(mode="after")
    def _is_measured(self) -> Self:
        if not _FINEST <= self.latency_p99 < _LONGEST:
            raise refuse("MS205", "the server tells durations apart from 1ms to 30s", "for example: latency_p99: 500ms")
        return self


class SecretKey(Options):
    """One key of a secret of the cluster."""

    secret: DnsName = Field(description="Name of the secret.", examples=["digits-metrics"])
    key: LabelKey = Field(description="Which key of it.", examples=["token"])


class Monitor(Options):
    """How Prometheus finds the model, and what is worth an alert."""

    namespace: DnsLabel = Field("monitoring", description="Where Prometheus runs.", examples=["monitoring"])
    labels: Labels = Field(
        default_factory=dict,
        description="Labels by which Prometheus picks its monitors and rules.",
        examples=[{"release": "prometheus"}],
    )
    token: SecretKey | None = Field(
        None,
        description="Key with the role `metrics`, where serve.auth asks for one.",
        examples=[{"secret": "digits-metrics", "key": "token"}],
    )
    alerts: Alerts = Field(default_factory=Alerts, description="Thresholds.", examples=[{"latency_p99": "50ms"}])


class Certificate(Options):
    """A certificate by its files, where nginx runs."""

    certificate: FilePath = Field(description="The certificate and its chain, in PEM.", examples=["/etc/nginx/tls.crt"])
    key: FilePath = Field(description="Its private key.", examples=["/etc/nginx/tls.key"])


class Nginx(Options):
    """A reverse proxy in front of several servers."""

    servers: tuple[Address, ...] = Field(
        min_length=1, max_length=100, description="The servers behind it.", examples=[["10.0.0.7:8080", "10.0.0.8:8080"]]
    )  # fmt: skip
    listen: int = Field(8443, ge=1, le=65535, description="Port to listen on.", examples=[8443])
    host: DnsName = Field("localhost", description="Name under which it is reached.", examples=["digits.example.com"])
    tls: Certificate | None = Field(
        None,
        description="Speak HTTPS; plain HTTP when left out.",
        examples=[{"certificate": "/etc/nginx/tls.crt", "key": "/etc/nginx/tls.key"}],
    )
    rate: int = Field(100, ge=1, le=100_000, description="Requests a second of one client.", examples=[50])


class Environment(Options):
    """What is otherwise in one environment: a Kustomize overlay."""

    namespace: DnsLabel | None = Field(None, description="Where it is deployed.", examples=["production"])
    replicas: int | None = Field(None, ge=1, le=1000, description="How many pods.", examples=[4])
    autoscale: Autoscale | None = Field(None, description="Between how many pods.", examples=[{"min": 4, "max": 16}])
    resources: Resources | None = Field(
        None,
        description="What one pod is given there: 1 processor and 1GiB where it does not say.",
        examples=[{"cpu": "4"}],
    )
    host: DnsName | None = Field(None, description="Its name outside.", examples=["digits.example.com"])


class Manifests(Options):
    """What is written, and for which surroundings."""

    paths = ("templates",)
    folders = ("templates",)

    formats: tuple[Format, ...] = Field(min_length=1, description="What is written.", examples=[["kubernetes"]])
    kubernetes: Kubernetes = Field("1.34", description="Version of Kubernetes it is checked for.", examples=["1.34"])
    namespace: DnsLabel | None = Field(
        None, description="Where it is deployed; left to whoever applies it when left out.", examples=["vision"]
    )
    replicas: int | None = Field(None, ge=1, le=1000, description="How many pods. Default: 2.", examples=[3])
    autoscale: Autoscale | None = Field(None, description="Let the load decide.", examples=[{"min": 2, "max": 8}])
    resources: Resources = Field(
        default_factory=Resources,
        description="What one pod is given. What is not written here is what `build --update benchmark` last pinned in "
        "model.lock: `cpu` for the threads of all runs at one time; `memory` for one and a half times what the benchmark "
        "held at most, and 16 of the largest requests, in steps of 64MiB. Without either: 1 processor and 1GiB.",
        examples=[{"cpu": "2", "memory": "512MiB"}],
    )
    labels: Labels = Field(default_factory=dict, description="Labels of every object.", examples=[{"team": "vision"}])
    annotations: dict[LabelKey, str] = Field(
        default_factory=dict, description="Annotations of every object.", examples=[{"example.com/contact": "a@b.c"}]
    )
    pull_secret: DnsName | None = Field(None, description="Secret for the registry.", examples=["registry"])
    start: Duration = Field(
        "2min", description="Time to start in; then a pod is begun anew.", examples=["10min"], validate_default=True
    )
    ingress: Ingress | None = Field(
        None,
        description="How it is reached from outside.",
        examples=[{"host": "digits.example.com", "gateway": {"name": "public"}}],
    )
    network: Network = Field(
        default_factory=Network, description="Who may call it.", examples=[{"allow_from": [{"namespace": "shop"}]}]
    )
    monitor: Monitor = Field(
        default_factory=Monitor, description="How it is watched.", examples=[{"alerts": {"latency_p99": "50ms"}}]
    )
    nginx: Nginx | None = Field(
        None, description="The proxy of the format nginx.", examples=[{"servers": ["10.0.0.7:8080"]}]
    )
    environments: dict[DnsLabel, Environment] = Field(
        default_factory=dict,
        description="Overlays, by name.",
        examples=[{"production": {"namespace": "production", "replicas": 4}}],
    )
    templates: ProjectPath | None = Field(
        None,
        description="Folder with templates that replace ours or join them: <format>/<file>.j2.",
        examples=["templates"],
    )

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        for is_so, message, fix in _contradictions(self):
            if is_so:
                raise refuse("MS362", message, fix)
        return self


_OWN_LABELS = {f"app.kubernetes.io/{name}" for name in ("name", "instance", "managed-by")}


def _contradictions(block: Manifests) -> list[tuple[bool, str, str]]:
    """What cannot be meant: whether it is so, in words, and the fix."""
    environments = block.environments.values()
    taken = min(_OWN_LABELS & set(block.labels), default="")
    return [
        (len(set(block.formats)) < len(block.formats), "a format is named twice", "name it once"),
        (bool(taken), f"the label {taken!r} is set already", "remove it"),
        (block.replicas is not None and block.autoscale is not None, "replicas and autoscale contradict each other", "remove one of the two"),
        (block.nginx is None and "nginx" in block.formats, "the format nginx needs the servers behind it", "add nginx: {servers: [\"10.0.0.7:8080\"]}"),
        (any(env.replicas is not None and block.autoscale is not None for env in environments), "an environment sets replicas, which autoscale decides", "write autoscale there too"),
        (any(env.autoscale is not None and block.autoscale is None for env in environments), "an environment sets autoscale, and there is none", "add autoscale to manifests as well"),
        (any(env.host is not None and block.ingress is None for env in environments), "an environment sets a host, and there is no ingress", "add ingress to manifests as well"),
        (any(not env.model_fields_set for env in environments), "an environment that changes nothing", "say what is otherwise there, or remove it"),
    ]  # fmt: skip


_CLUSTER: tuple[Format, ...] = ("kubernetes", "kserve", "helm")
EFFECT: dict[str, tuple[Format, ...]] = {
    "kubernetes": (*_CLUSTER, "monitoring"),
    "namespace": (*_CLUSTER, "monitoring"),
    "annotations": (*_CLUSTER, "monitoring"),
    "replicas": _CLUSTER,
    "autoscale": _CLUSTER,
    "pull_secret": _CLUSTER,
    "resources": (*_CLUSTER, "compose"),
    "start": (*_CLUSTER, "compose"),
    "labels": (*_CLUSTER, "compose"),
    "ingress": ("kubernetes", "helm"),
    "network": ("kubernetes", "helm"),
    "environments": ("kubernetes",),
    "monitor": ("monitoring",),
    "nginx": ("nginx",),
}
"""Keys -> the formats in which they say something."""


def without_effect(block: Manifests) -> Iterator[tuple[str, tuple[Format, ...]]]:
    """The keys that are written and say nothing in any format that is asked for, with the formats in which they would."""
    for key, formats in EFFECT.items():
        if key in block.model_fields_set and not set(formats) & set(block.formats):
            yield key, formats
