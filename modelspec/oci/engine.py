"""The Docker engine: the one that `DOCKER_HOST` names, or that of this machine."""

import io
import os
import secrets
import socket
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from modelspec.errors import ModelspecError, fail

_SILENT_S = 1800
"""How long the engine may say nothing: a package that is being unpacked does not. The action's own time ends it too."""
_KNOCK_S = 10.0
_OLDEST = "1.40"
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

    def build(self, dockerfile: str, base: str) -> str:
        """Make an image of a Dockerfile that takes no files; returns its name. Raises MS547."""
        name = base.replace(":base", ":built")
        options: dict[str, Any] = {} if self._has_bridge() else {"network_mode": "host"}
        error = ""
        with _told("the build"):
            lines = self._client.api.build(fileobj=_context(dockerfile), custom_context=True, tag=name, rm=True, forcerm=True,
                                           pull=False, nocache=True, decode=True, **options)  # fmt: skip
            for line in lines:  # to the end, so that the connection is free again
                sys.stdout.write(str(line.get("stream", "")))
                sys.stdout.flush()
                error = error or str(line.get("error", "")).strip()
        if error:
            help_ = "the log has what the step printed"
            raise fail("MS547", f"the Docker engine cannot build the image: {error}", help=help_, path=("run",))
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
        import requests
        from docker.utils import kwargs_from_env, version_lt
    except ImportError as error:
        raise fail("MS401", "docker is not installed", help="pip install 'modelspec-build[docker]'") from error
    os.environ.pop("DOCKER_CONFIG", None)
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    _knock(host)
    options = {**kwargs_from_env(), "timeout": _SILENT_S}
    try:
        with closing(docker.DockerClient(**options, version=_OLDEST)) as client:
            spoken = str(client.api.version(api_version=False).get("ApiVersion", "0"))
        if version_lt(spoken, _OLDEST):
            raise fail(
                "MS418", f"the Docker engine speaks version {spoken} of its API", help="Docker 19.03 or later is needed"
            )
        client = docker.DockerClient(**options, version=spoken)
    except (docker.errors.DockerException, requests.RequestException, ValueError) as error:
        raise _no_engine(host, "nobody answers" if "refused" in str(error) else "it does not answer") from error
    with closing(client):
        yield Engine(client)


def _knock(host: str) -> None:
    """Whether the socket of an engine can be opened: the client says that by an error in an error in an error."""
    if not host.startswith("unix://"):
        return
    try:
        with socket.socket(socket.AF_UNIX) as there:
            there.settimeout(_KNOCK_S)
            there.connect(host.removeprefix("unix://"))
    except PermissionError as error:
        fix = "add the user to the group docker, or name an engine without root with DOCKER_HOST"
        raise fail("MS416", f"the Docker engine at {host} may not be used by this user", help=fix) from error
    except FileNotFoundError as error:
        raise _no_engine(host, "there is no such socket") from error
    except OSError as error:
        raise _no_engine(host, error.strerror or "nobody answers") from error


def _no_engine(host: str, reason: str) -> ModelspecError:
    fix = "start it, or name another with DOCKER_HOST; without apt and run no engine is needed"
    return fail("MS415", f"there is no Docker engine at {host}: {reason}", help=fix)


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
