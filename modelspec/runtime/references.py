"""Where secrets lie: runtime.json holds references alone, and each is followed where the server runs."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelspec.runtime.errors import ENVIRONMENT, ServeError

MOUNT = "/run/secrets/modelspec"
"""Below it an image looks for secrets of the cluster; whoever deploys it mounts them there."""
MAX_BYTES = 1 << 20

FORMS = {
    "env": r"[A-Za-z_][A-Za-z0-9_]{0,127}",
    "file": r"(?!.*/\.\.(/|$))/[^\x00-\x1f\x7f]{1,1023}",
    "secret": r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*",
    "key": r"(?!\.\.)[A-Za-z0-9._-]{1,253}",
}
"""A variable, an absolute path, and the name and key of a Kubernetes secret."""


def mounted(secret: str, key: str) -> str:
    """The path of one key of a secret, in an image."""
    return f"{MOUNT}/{secret}/{key}"


@dataclass(frozen=True)
class Reference:
    """One secret: an environment variable, a file, or a secret that is mounted."""

    env: str = ""
    path: str = ""
    secret: str = ""

    @classmethod
    def file(cls, path: str) -> "Reference":
        """A file, as the command line names it."""
        if not path:
            raise ValueError("no file is named")
        return cls(path=path)

    @classmethod
    def parse(cls, value: Any) -> "Reference":
        """From runtime.json. Raises ValueError; what is written there is not said, for it may be a secret."""
        known = isinstance(value, dict) and set(value) in ({"env"}, {"file"}, {"secret", "key"})
        if not known or not all(isinstance(v, str) and re.fullmatch(FORMS[k], v) for k, v in value.items()):
            raise ValueError("must be {env: NAME}, {file: PATH} or {secret: NAME, key: KEY}")
        if "secret" in value:
            return cls(path=mounted(**value), secret=value["secret"])
        return cls(env=value.get("env", ""), path=value.get("file", ""))

    def __str__(self) -> str:
        if self.env:
            return f"the environment variable {self.env}"
        return f"the secret {self.secret}, mounted at {self.path}" if self.secret else self.path

    def read(self) -> bytes:
        """What it refers to. Raises ServeError when there is nothing: no server starts without what it was told to ask for."""
        if self.env:
            if not (value := os.environ.get(self.env)):
                raise ServeError(f"{self} is not set", ENVIRONMENT)
            return os.fsencode(value)
        try:
            with Path(self.path).open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ServeError(f"{self} cannot be read: {error.strerror}", ENVIRONMENT) from error
        if len(content) > MAX_BYTES:
            raise ServeError(f"{self} has more than {MAX_BYTES} bytes", ENVIRONMENT)
        return content
