"""The config of an image: what of the base stays, what the server needs, and nothing of the machine that built it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

USER = "65532:65532"
"""Nobody in particular: what distroless images call nonroot."""
_SECOND = 1_000_000_000
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What engines take where a base sets none; written here so that no engine has to."""
_KEPT = ("Env", "Labels", "WorkingDir")
"""What is taken over from the base; its command, user, ports and volumes are for another program."""


@dataclass(frozen=True)
class Layered:
    """One layer as a config lists it."""

    diff_id: str
    """Digest of the uncompressed tar."""
    comment: str


@dataclass(frozen=True)
class Program:
    """What runs in the container."""

    entrypoint: Sequence[str]
    environment: Mapping[str, str]
    ports: Sequence[int]
    healthcheck: Sequence[str]


def created(epoch: int) -> str:
    """A time as OCI writes it."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def image_config(
    base: Mapping[str, Any], layers: Sequence[Layered], program: Program, labels: Mapping[str, str], epoch: int
) -> dict[str, Any]:
    """The config of the base with layers on top of it. `base` is the config of the base image."""
    inherited = {key: value for key, value in (base.get("config") or {}).items() if key in _KEPT and value}
    of_base = dict(entry.partition("=")[::2] for entry in inherited.get("Env", ()))
    environment = {"PATH": _PATH, **of_base, **program.environment}
    kept = {k: v for k, v in inherited.get("Labels", {}).items() if not k.startswith("org.opencontainers.image.")}
    time = created(epoch)
    config = {
        **inherited,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": {**kept, **labels},
        "WorkingDir": "/",
        "User": USER,
        "Entrypoint": list(program.entrypoint),
        "ExposedPorts": {f"{port}/tcp": {} for port in program.ports},
        "StopSignal": "SIGTERM",
        # Docker's extension; Kubernetes asks the probes of its own.
        "Healthcheck": {
            "Test": ["CMD", *program.healthcheck],
            "Interval": 10 * _SECOND,
            "Timeout": 5 * _SECOND,
            "StartPeriod": 60 * _SECOND,
            "Retries": 3,
        },
    }
    history = [{"created": time, "created_by": "modelspec", "comment": layer.comment} for layer in layers]
    value = {
        "architecture": base["architecture"],
        "os": base["os"],
        "created": time,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [*base["rootfs"]["diff_ids"], *(layer.diff_id for layer in layers)]},
        "history": [*(base.get("history") or []), *history],
    }
    return {**value, "variant": base["variant"]} if base.get("variant") else value
