"""What is known of a built model when it is deployed: its image, how its server runs, and its tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ImageFacts:
    """An image, by its digest always: a tag may be another image tomorrow."""

    repository: str
    digest: str

    @property
    def reference(self) -> str:
        """`registry.example/digits@sha256:...`."""
        return f"{self.repository}@{self.digest}"


@dataclass(frozen=True)
class ServerFacts:
    """What runtime.json says of the server."""

    runtime: Mapping[str, Any]

    @property
    def settings(self) -> Mapping[str, Any]:
        """In the words of the server's command line."""
        found: Mapping[str, Any] = self.runtime.get("serve", {})
        return found

    @property
    def port(self) -> int:
        """For HTTP."""
        return int(self.settings.get("port", 8080))

    @property
    def grpc_port(self) -> int | None:
        """For gRPC, where it is offered."""
        port = int(self.settings.get("grpc_port", -1))
        return port if port > 0 else None

    @property
    def body(self) -> int:
        """Bytes of one request, at most."""
        return int(self.settings.get("max_body", 8 << 20))

    @property
    def timeout(self) -> float:
        """Seconds in which the model must have answered."""
        return float(self.settings.get("request_timeout", 30.0))

    @property
    def grace(self) -> int:
        """Seconds from SIGTERM until the last request is answered."""
        return round(float(self.settings.get("drain_delay", 1.0)) + float(self.settings.get("grace", 30.0)))

    @property
    def tls(self) -> bool:
        """Whether it speaks HTTPS."""
        return "tls_cert" in self.settings

    @property
    def has_keys(self) -> bool:
        """Whether a caller needs a key."""
        return "api_keys" in self.settings

    @property
    def references(self) -> dict[str, Mapping[str, str]]:
        """Its secrets by setting: {env}, {file} or {secret, key}."""
        return {name: value for name, value in sorted(self.settings.items()) if isinstance(value, dict)}

    @property
    def secrets(self) -> dict[str, tuple[str, ...]]:
        """Secrets of the cluster -> the keys that are read."""
        found: dict[str, set[str]] = {}
        for reference in self.references.values():
            if "secret" in reference:
                found.setdefault(reference["secret"], set()).add(reference["key"])
        return {name: tuple(sorted(keys)) for name, keys in sorted(found.items())}


@dataclass(frozen=True)
class Facts:
    """All of it, with the name and version of the model."""

    name: str
    version: str
    image: ImageFacts
    server: ServerFacts
    signature: Mapping[str, Any]
