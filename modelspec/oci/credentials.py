"""User names and passwords of registries, where `docker login` left them: in Docker's config or with a helper program."""

import base64
import binascii
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelspec.errors import ModelspecError, fail
from modelspec.oci.reference import DOCKER_HUB

_HUB_KEY = "https://index.docker.io/v1/"
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HELPER_S = 30.0
_LARGEST_CONFIG = 1 << 20


@dataclass(frozen=True)
class Credentials:
    """What proves who asks; `identity` is a refresh token that stands for user and password."""

    user: str
    password: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def lookup(host: str, environment: Mapping[str, str] | None = None) -> Credentials | None:
    """What Docker's config has for the registry; None where it has nothing. Raises MS414 and MS417."""
    environment = os.environ if environment is None else environment
    home = Path(environment["DOCKER_CONFIG"]) if environment.get("DOCKER_CONFIG") else Path.home() / ".docker"
    path = home / "config.json"
    config = _read(path)
    key = _HUB_KEY if host == DOCKER_HUB else host
    helpers = _mapping(config, "credHelpers")
    if helper := helpers.get(host) or helpers.get(key):
        return _ask(str(helper), key, path, environment)
    if store := config.get("credsStore"):
        found = _ask(str(store), key, path, environment)
        if found is not None:
            return found
    for written, entry in _mapping(config, "auths").items():
        if isinstance(entry, dict) and (written == key or _host(written) == host):
            found = _of_entry(entry, path)
            if found is not None:
                return found
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_CONFIG + 1)
        config = json.loads(data) if len(data) <= _LARGEST_CONFIG else None
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise _unreadable(path, error.strerror or "it cannot be opened") from error
    except ValueError:
        # Not `from error`, nor with its text: that may hold a piece of the file.
        raise _unreadable(path, "it is not JSON") from None
    if not isinstance(config, dict):
        raise _unreadable(path, "it is not a JSON object")
    return config


def _mapping(config: dict[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def _host(written: str) -> str:
    """Older clients wrote an address where the name of the registry stands now."""
    host = re.sub(r"^https?://", "", written).partition("/")[0]
    return DOCKER_HUB if host in {"index.docker.io", "registry-1.docker.io"} else host


def _of_entry(entry: dict[str, Any], path: Path) -> Credentials | None:
    identity = str(entry.get("identitytoken") or "")
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if auth := entry.get("auth"):
        try:
            user, _, password = base64.b64decode(str(auth), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            raise _unreadable(path, "an `auth` in it is not base64 of user:password") from None
        password = password.rstrip("\0")
    return Credentials(user, password, identity) if user or identity else None


def _ask(helper: str, key: str, path: Path, environment: Mapping[str, str]) -> Credentials | None:
    """Run `docker-credential-<helper> get`, as Docker does; it reads the registry's name and answers with JSON."""
    if not _HELPER.fullmatch(helper):
        raise _unreadable(path, f"{helper[:64]!r} is not the name of a credential helper")
    name = f"docker-credential-{helper}"
    program = shutil.which(name, path=environment.get("PATH"))
    if program is None:
        raise _helpless(name, key, "it is not installed")
    try:
        done = subprocess.run(  # noqa: S603 - a name of a closed form, and no shell
            [program, "get"], input=key.encode(), capture_output=True, timeout=_HELPER_S, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        raise _helpless(name, key, f"it did not answer within {_HELPER_S:g} s") from None
    except OSError as error:
        raise _helpless(name, key, error.strerror or "it cannot be started") from None
    if done.returncode:
        if b"credentials not found" in done.stdout:
            return None
        raise _helpless(name, key, f"it ended with {done.returncode}")
    try:
        answer = json.loads(done.stdout)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, LookupError, TypeError):
        raise _helpless(name, key, "its answer holds no Username and Secret") from None
    return Credentials("", identity=secret) if user == "<token>" else Credentials(user, secret)


def _helpless(name: str, key: str, reason: str) -> ModelspecError:
    fix = f"try it: echo {key} | {name} get; or remove it from Docker's config and run docker login"
    return fail("MS414", f"the credential helper {name} gives no password for {key}: {reason}", help=fix)


def _unreadable(path: Path, reason: str) -> ModelspecError:
    fix = "mend or remove the file, then run docker login"
    return fail("MS417", f"{path} holds the passwords of registries and cannot be read: {reason}", help=fix)
