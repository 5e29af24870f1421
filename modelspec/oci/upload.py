"""Into a registry: a blob that it lacks, from disk, in one piece or in chunks that are gone on with; and manifests."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from modelspec import digest
from modelspec.errors import fail
from modelspec.oci.descriptor import Descriptor
from modelspec.oci.reference import Reference, is_digest
from modelspec.oci.registry import Registry
from modelspec.oci.transport import Part, PassingError, Response

WHOLE = 64 << 20
"""Blobs up to here go in one request, as other tools do it; larger ones in chunks of this size."""

Outcome = Literal["there", "mounted", "sent"]


def push_manifest(registry: Registry, reference: Reference, data: bytes, media_type: str) -> str:
    """Put a manifest under the reference's tag or digest; returns its digest. Its blobs have to be there."""
    path = f"{reference.repository}/manifests/{reference.wanted}"
    expected = f"sha256:{digest.of_bytes(data)}"
    with registry.ask(
        "PUT", path, _scope(reference.repository), headers={"Content-Type": media_type}, body=data
    ) as answer:
        registry.expect(answer, 201, f"the manifest of {reference}")
        found = answer.headers.get("Docker-Content-Digest", expected)
    if is_digest(found) and found != expected:
        raise fail("MS653", f"the registry {registry.host} stored the manifest of {reference} as {found}, and it is {expected}",
                   help="ask who runs the registry")  # fmt: skip
    return expected


def push_blob(registry: Registry, repository: str, blob: Descriptor, path: Path, *, mount: str = "", chunk: int = WHOLE) -> Outcome:  # fmt: skip
    """Make sure that the registry has a blob; one of repository `mount` is taken over without being sent."""
    upload = _Upload(registry, repository, blob, path, mount, chunk)
    return registry.transport.persist(f"blob {blob.digest[7:19]}", upload.attempt, lambda: upload.furthest)


def _scope(repository: str) -> str:
    return f"repository:{repository}:pull,push"


@dataclass
class _Upload:
    registry: Registry
    repository: str
    blob: Descriptor
    path: Path
    mount: str
    chunk: int
    location: str = ""
    offset: int = 0
    furthest: int = 0

    def attempt(self) -> Outcome:
        """From wherever the last attempt ended."""
        if self._is_there():
            return "there"
        if not self.location and (done := self._begin()):
            return done
        if self.blob.size > self.chunk:
            self._in_chunks()
        else:
            location, self.location = self.location, ""  # what was cut in the middle begins anew
            self._finish(location, Part(self.path, 0, self.blob.size))
        return "sent"

    def _ask(self, method: str, url: str, headers: dict[str, str] | None = None, body: bytes | Part | None = None, *, scope: str = "") -> Response:  # fmt: skip
        return self.registry.once(method, url, scope or _scope(self.repository), headers, body)

    def _is_there(self) -> bool:
        what = f"blob {self.blob.digest} in {self.repository}"
        with self._ask("HEAD", f"{self.repository}/blobs/{self.blob.digest}") as answer:
            if answer.status != 404:
                self.registry.expect(answer, 200, what)
            return answer.status == 200

    def _begin(self) -> Outcome | None:
        query, scope = "", ""
        if self.mount and self.mount != self.repository:
            query = f"?mount={self.blob.digest}&from={quote(self.mount, safe='')}"
            scope = f"{_scope(self.repository)} repository:{self.mount}:pull"
        with self._ask("POST", f"{self.repository}/blobs/uploads/{query}", body=b"", scope=scope) as answer:
            if query and answer.status == 201:
                return "mounted"
            if query and answer.status in {401, 403, 404}:  # not ours to read: it is sent instead
                self.mount = ""
                raise PassingError(f"{answer.status} for a blob of another repository")
            self.registry.expect(answer, 202, f"an upload to {self.repository}")
            self._moved(answer)
        self.offset = 0
        return None

    def _moved(self, answer: Response) -> None:
        """Every answer names the address for the next request."""
        location = answer.headers.get("Location", "")
        if not location:
            raise PassingError("it gives no address for an upload")
        self.location = self.registry.absolute(location)

    def _in_chunks(self) -> None:
        if self.offset:
            self._resume()
        while self.offset < self.blob.size:
            size = min(self.chunk, self.blob.size - self.offset)
            headers = {
                "Content-Range": f"{self.offset}-{self.offset + size - 1}",
                "Content-Type": "application/octet-stream",
            }
            with self._ask("PATCH", self.location, headers, Part(self.path, self.offset, size)) as answer:
                if answer.status != 202:
                    self._lost(f"it answers {answer.status} to a chunk")
                self._moved(answer)
            self.offset += size
            self.furthest = max(self.furthest, self.offset)
        location, self.location = self.location, ""
        self._finish(location, b"")

    def _resume(self) -> None:
        with self._ask("GET", self.location) as answer:
            held = answer.headers.get("Range", "").rpartition("-")[2]
            if answer.status != 204 or not held.isdigit() or int(held) + 1 != self.offset:
                self._lost("an upload that was cut cannot be gone on with")

    def _lost(self, reason: str) -> None:
        """Some registries drop an upload when one chunk of it was cut: the rest of the attempts send all in one."""
        self.location, self.offset, self.chunk = "", 0, self.blob.size
        raise PassingError(reason)

    def _finish(self, location: str, body: bytes | Part) -> None:
        url = f"{location}{'&' if '?' in location else '?'}digest={quote(self.blob.digest, safe='')}"
        with self._ask("PUT", url, body=body) as answer:
            if answer.status in {400, 404, 416}:
                self._check()
                raise PassingError(f"it answers {answer.status} to an upload")
            self.registry.expect(answer, 201, f"blob {self.blob.digest} of {self.repository}")

    def _check(self) -> None:
        """Whether it is the file that is wrong. Raises MS650."""
        found = f"sha256:{digest.of_file(self.path)}"
        if found != self.blob.digest:
            raise fail("MS650", f"{self.path} has the digest {found}", help="build the image again")
