"""The Docker engine: the one that `DOCKER_HOST` names, or that of this machine."""

import io
import os
import secrets
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from modelspec.errors import ModelspecError, fail

_SILENT_S = 1800
"""How long the engine may say nothing: a package that is being unpacked does not. The action's own time ends it too."""
_OLDEST = (1, 40)
"""The API of Docker 19.03."""


class Engine:
    """A connection to an engine that answers."""

    def __init__(self, client: Any) -> None:
        self._client = client
        version = client.version()
        self.version: str = str(version.get("Version", ""))
        self.platform = f"{version.get('Os', '')}/{version.get('Arch', '')}"

    @contextmanager
    def loaded(self, archive: Path) -> Iterator[str]:
        """The image in a tar, under a name of its own for the length of the block."""
        name = f"modelspec-build-{secrets.token_hex(8)}:base"
        with _told("it cannot load the base image"), archive.open("rb") as file:
            (image,) = self._client.images.load(file)
            image.tag(name)
        try:
            yield name
        finally:
            self._remove(name)

    def build(self, dockerfile: str, base: str, log: Any = sys.stdout) -> str:
        """Make an image of a Dockerfile that takes no files; returns its name. Raises MS547."""
        name = base.replace(":base", ":built")
        options: dict[str, Any] = {} if self._has_bridge() else {"network_mode": "host"}
        with _told("the build"):
            lines = self._client.api.build(fileobj=_context(dockerfile), custom_context=True, tag=name, rm=True, forcerm=True,
                                           pull=False, nocache=True, decode=True, **options)  # fmt: skip
            for line in lines:
                log.write(str(line.get("stream", "")))
                log.flush()
                if "error" in line:
                    raise fail("MS547", f"the Docker engine cannot build the image: {str(line['error']).strip()}",
                               help="the log has what the step printed", path=("run",))  # fmt: skip
        return name

    def save(self, name: str, archive: Path) -> None:
        """Write an image to a tar as `docker save` does, and forget it."""
        try:
            with _told("it cannot save the image"), archive.open("wb") as file:
                for data in self._client.images.get(name).save():
                    file.write(data)
        finally:
            self._remove(name)

    def _has_bridge(self) -> bool:
        """Some engines have no network of their own; the machine's has to do."""
        return bool(self._client.networks.list(names=["bridge"]))

    def _remove(self, name: str) -> None:
        import docker

        with suppress(docker.errors.DockerException, OSError):
            self._client.images.remove(name, force=True)


@contextmanager
def connected() -> Iterator[Engine]:
    """An engine. Raises MS401, MS415, MS416 and MS418. For a process of its own: it forgets Docker's config.

    That holds passwords of registries, which the client would send along with every build.
    """
    try:
        import docker
        from docker.utils import kwargs_from_env
    except ImportError as error:
        raise fail("MS401", "docker is not installed", help="pip install 'modelspec-build[docker]'") from error
    os.environ.pop("DOCKER_CONFIG", None)
    try:
        client = docker.DockerClient(**kwargs_from_env(), version="auto", timeout=_SILENT_S)
    except (docker.errors.DockerException, ValueError) as error:
        raise _unreachable(error) from error
    try:
        if tuple(int(part) for part in str(client.api._version).split(".")[:2]) < _OLDEST:
            raise fail("MS418", "the Docker engine is too old", help="Docker 19.03 or later is needed")
        yield Engine(client)
    finally:
        client.close()


def _unreachable(error: Exception) -> ModelspecError:
    """Why an engine does not answer, with what to do; the client tells it by an error in an error."""
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    text = str(error)
    if "Permission denied" in text:
        return fail("MS416", f"the Docker engine at {host} may not be used by this user",
                    help="add the user to the group docker, or use a rootless engine: set DOCKER_HOST")  # fmt: skip
    if "too old" in text or ("API version" in text and "minimum" in text):
        return fail("MS418", f"the Docker engine at {host} is too old", help="Docker 19.03 or later is needed")
    reasons = {
        "No such file": "there is no such socket",
        "FileNotFound": "there is no such socket",
        "refused": "nobody answers",
    }
    reason = next((said for sign, said in reasons.items() if sign in text), "it does not answer")
    return fail("MS415", f"there is no Docker engine at {host}: {reason}",
                help="start it, or name another with DOCKER_HOST; without apt and run no engine is needed")  # fmt: skip


@contextmanager
def _told(what: str) -> Iterator[None]:
    import docker
    import requests

    try:
        yield
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise fail(
            "MS547", f"the Docker engine failed: {what}: {error}", help="the log of the engine has more"
        ) from error


def _context(dockerfile: str) -> io.BytesIO:
    """What the engine is sent: the Dockerfile, and no file of anybody's."""
    data = dockerfile.encode()
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w") as tar:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    found.seek(0)
    return found
