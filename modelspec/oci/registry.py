"""A client of an OCI registry: manifests and blobs, each checked against its digest, in memory that does not grow with them."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from modelspec import digest
from modelspec.errors import ModelspecError, fail
from modelspec.oci import credentials, document
from modelspec.oci.access import Access
from modelspec.oci.descriptor import INDEXES, MANIFESTS, Descriptor
from modelspec.oci.reference import DOCKER_HUB, Reference, is_digest
from modelspec.oci.transport import Part, PassingError, Response, Transport
from modelspec.web import is_loopback

_ACCEPTED = ", ".join(sorted(INDEXES | MANIFESTS))
_HUB = "registry-1.docker.io"
TIMEOUT_S = 3600.0


class Registry:
    """One registry. `say` takes what a user may want to know while it goes on; `timeout_s` is for all of it together."""

    def __init__(
        self,
        host: str,
        *,
        timeout_s: float = TIMEOUT_S,
        say: Callable[[str], None] = lambda _: None,
        lookup: Callable[[str], credentials.Credentials | None] = credentials.lookup,
    ) -> None:
        self.host = host
        self.transport = Transport(host, timeout_s, say)
        self._access = Access(self.transport, lookup)
        self._base = f"{'http' if is_loopback(host) else 'https'}://{_HUB if host == DOCKER_HUB else host}"

    def resolve(self, reference: Reference, platform: str = "") -> Descriptor:
        """What the reference stands for now; with `platform`, the manifest for it. Raises MS413 and MS355."""
        descriptor, data = self._manifest(reference)
        if platform and descriptor.media_type in INDEXES:
            return document.choose(data, platform, str(reference))
        return replace(descriptor, platform=platform)

    def manifest(self, reference: Reference) -> bytes:
        """The bytes of a manifest or an index. Raises MS413, and MS653 where they have another digest."""
        return self._manifest(reference)[1]

    def exists(self, reference: Reference) -> str:
        """The digest that a tag or digest has there now; empty where there is none."""
        path = f"{reference.repository}/manifests/{reference.wanted}"
        with self.ask("HEAD", path, _scope(reference.repository), headers={"Accept": _ACCEPTED}) as answer:
            if answer.status == 404:
                return ""
            self.expect(answer, 200, f"{reference}")
            found = answer.headers.get("Docker-Content-Digest", "")
        return found if is_digest(found) else f"sha256:{digest.of_bytes(self.manifest(reference))}"

    def pull_blob(self, repository: str, descriptor: Descriptor, path: Path, progress: Callable[[int], None] = lambda _: None) -> None:  # fmt: skip
        """Bring a blob to `path`, and go on where an interrupted connection ended. Raises MS413, and MS653."""
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644), "w+b") as file:
            running = digest.Running()

            def attempt() -> None:
                for data in self._blob(repository, descriptor, file.tell()):
                    file.write(data)
                    running.add(data)
                    progress(len(data))

            try:
                self.transport.persist(f"blob {descriptor.digest[7:19]}", attempt, file.tell)
            except ModelspecError:
                path.unlink(missing_ok=True)
                raise
        if f"sha256:{running.sha256}" != descriptor.digest:
            path.unlink(missing_ok=True)
            raise _other(f"a blob of {self.host}/{repository}", running.sha256, descriptor.digest)

    def read_blob(self, repository: str, descriptor: Descriptor) -> bytes:
        """A small blob, such as the config of an image. Raises MS413, MS653 and MS661."""
        if descriptor.size > document.LARGEST:
            raise fail(
                "MS661", f"a config of {self.host}/{repository} has {descriptor.size} bytes", help="push it again"
            )
        what = f"blob {descriptor.digest[7:19]}"
        data = self.transport.persist(what, lambda: b"".join(self._blob(repository, descriptor, 0)))
        if f"sha256:{digest.of_bytes(data)}" != descriptor.digest:
            raise _other(f"a blob of {self.host}/{repository}", digest.of_bytes(data), descriptor.digest)
        return data

    def ask(self, method: str, path: str, scope: str, *, headers: dict[str, str] | None = None, body: bytes | Part | None = None) -> Response:  # fmt: skip
        """One request below /v2/ (or to an address that the registry gave), again while its faults pass."""
        return self.transport.persist(
            f"{method} {path.partition('?')[0]}", lambda: self.once(method, path, scope, headers, body)
        )

    def once(self, method: str, path: str, scope: str, headers: dict[str, str] | None = None, body: bytes | Part | None = None) -> Response:  # fmt: skip
        """One request, proving who asks when the registry wants to know."""
        url = path if "://" in path else f"{self._base}/v2/{path}"
        ours = urlsplit(url)[:2] == urlsplit(self._base)[:2]
        for _ in range(3):  # a token that has expired is asked for anew
            authorization = self._access.header(scope) if ours else ""
            answer = self.transport.send(method, url, headers or {}, body, authorization)
            if answer.status != 401 or not ours:
                return answer
            with answer:
                self._access.challenged(answer.headers.get("WWW-Authenticate", ""), scope)
        raise self._access.refused("it does not accept the token that it asked for")

    def absolute(self, location: str) -> str:
        """An address that the registry gave, whole."""
        return urljoin(f"{self._base}/", location)

    def expect(self, answer: Response, status: int, what: str) -> None:
        """Raises MS411, MS413 and MS412 where the answer has another status."""
        if answer.status == status:
            return
        if answer.status in {401, 403}:
            raise self._access.refused(
                f"{what}: {answer.status}{document.reason(self.transport.whole(answer, 1 << 20))}"
            )
        if answer.status == 404:
            fix = "check the name and the tag, and that you may read it"
            raise fail("MS413", f"the registry {self.host} has no {what}", help=fix)
        said = document.reason(self.transport.whole(answer, 1 << 20)) or f" {answer.reason}"
        raise fail("MS412", f"the registry {self.host} refuses {what}: {answer.status}{said}",
                   help="ask who runs the registry")  # fmt: skip

    def _manifest(self, reference: Reference) -> tuple[Descriptor, bytes]:
        path = f"{reference.repository}/manifests/{reference.wanted}"

        def attempt() -> tuple[str, str, bytes]:
            with self.once("GET", path, _scope(reference.repository), {"Accept": _ACCEPTED}) as answer:
                self.expect(answer, 200, str(reference))
                headers = answer.headers
                body = self.transport.whole(answer, document.LARGEST)
                return headers.get("Content-Type", ""), headers.get("Docker-Content-Digest", ""), body

        content_type, said, data = self.transport.persist(f"manifest {reference.wanted[:19]}", attempt)
        found = digest.of_bytes(data)
        for expected in (reference.digest, said):
            if is_digest(expected) and expected != f"sha256:{found}":
                raise _other(f"the manifest of {reference}", found, expected)
        media_type = document.media_type(data, content_type, str(reference))
        return Descriptor(media_type, f"sha256:{found}", len(data)), data

    def _blob(self, repository: str, descriptor: Descriptor, start: int) -> Iterator[bytes]:
        if start >= descriptor.size > 0:
            return
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with self.once("GET", f"{repository}/blobs/{descriptor.digest}", _scope(repository), headers) as answer:
            if start and answer.status == 206:
                if not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                    raise PassingError("the registry answers with another part than was asked for")
                skip = 0
            else:
                self.expect(answer, 200, f"blob {descriptor.digest} in {repository}")
                skip = start  # it does not do parts: what is there already is read once more
            left = descriptor.size - start
            while data := self.transport.receive(answer):
                dropped = min(skip, len(data))
                skip, data = skip - dropped, data[dropped:]
                left -= len(data)
                if left < 0:
                    raise fail("MS653", f"a blob of {self.host}/{repository} is longer than its manifest says",
                               help="push the image again")  # fmt: skip
                if data:
                    yield data
        if left:
            raise PassingError(f"the connection was cut {left} bytes before the end")


def _scope(repository: str, actions: str = "pull") -> str:
    return f"repository:{repository}:{actions}"


def _other(what: str, found: str, expected: str) -> ModelspecError:
    return fail(
        "MS653",
        f"{what} has the digest sha256:{found}, and {expected} is expected",
        why="the registry, or something between it and this machine, gives other bytes",
        help="nothing of it is kept; ask who runs the registry",
    )
