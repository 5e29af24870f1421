"""How an image is named: `registry/repository:tag@digest`, read as Docker reads it."""

import re
from dataclasses import dataclass, replace

from modelspec.errors import ModelspecError, fail

DOCKER_HUB = "docker.io"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::(?P<port>[0-9]{{1,5}}))?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST = 255
"""Characters of registry and repository together: what registries take."""


@dataclass(frozen=True)
class Reference:
    """An image in a registry. Without tag and digest it names the repository alone."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.host}/{self.repository}"

    @property
    def wanted(self) -> str:
        """What the registry is asked for: the digest where there is one, else the tag, else `latest`."""
        return self.digest or self.tag or "latest"

    def at(self, *, tag: str = "", digest: str = "") -> "Reference":
        """The same repository with another tag and digest."""
        return replace(self, tag=tag, digest=digest)

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def is_digest(value: str) -> bool:
    """Whether it is `sha256:` and 64 lower-case hexadecimal digits."""
    return _DIGEST.fullmatch(value) is not None


def is_tag(value: str) -> bool:
    """Whether a registry takes it as a tag."""
    return _TAG.fullmatch(value) is not None


def names_a_registry(written: str) -> bool:
    """Whether a registry stands before the first slash, as Docker sees it."""
    first, slash, _ = written.partition("/")
    return bool(slash) and (first == "localhost" or ":" in first or "." in first.strip(".") or first != first.lower())


def parse(written: str) -> Reference:
    """Read a reference; a name without a registry is one of Docker Hub. Raises MS353."""
    rest, at, digest = written.partition("@")
    if at and not is_digest(digest):
        raise _refused(written, f"{digest[:80]!r} is not sha256: and 64 hexadecimal digits")
    head, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not is_tag(tag):
        raise _refused(written, f"{tag[:140]!r} is not a tag")
    host, repository = _host_and_repository(head + slash + last)
    found = _HOST.fullmatch(host)
    if found is None or int(found["port"] or 1) not in range(1, 65536):
        raise _refused(written, f"{host[:80]!r} is not a registry")
    if not _REPOSITORY.fullmatch(repository):
        raise _refused(
            written, f"{repository[:80]!r} is not a repository: lower-case letters, digits, and . _ - / inside"
        )
    if len(host) + 1 + len(repository) > _LONGEST:
        raise _refused(written[:80], f"registry and repository have more than {_LONGEST} characters")
    return Reference(host, repository, tag, digest)


def _host_and_repository(name: str) -> tuple[str, str]:
    """Docker's rule: the first part is a registry when it has a dot, a colon or a capital, or is `localhost`."""
    first, _, rest = name.partition("/")
    if names_a_registry(name):
        if first in {"index.docker.io", "registry-1.docker.io"}:
            first = DOCKER_HUB
        host, repository = first, rest
    else:
        host, repository = DOCKER_HUB, name
    if host == DOCKER_HUB and repository and "/" not in repository:
        repository = f"library/{repository}"
    return host, repository


def _refused(written: str, reason: str) -> ModelspecError:
    example = "for example: registry.example/vision/digits:1.0.0"
    return fail("MS353", f"{written!r} is not the name of an image: {reason}", help=example)
