"""Secrets in a spec: references to where they lie, never the secrets. No message repeats what is written in their place."""

import re
from typing import Any

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from modelspec.options import Options, refuse
from modelspec.runtime.references import FORMS

_FIX = "write {env: NAME}, {file: /absolute/path} or {secret: NAME, key: KEY}"
_MEANT = {
    "env": "the name of an environment variable",
    "file": "an absolute path",
    "secret": "the name of a Kubernetes secret",
    "key": "a key of a Kubernetes secret",
}

_ONE_WAY: JsonDict = {
    "minProperties": 1,
    "dependencies": {
        "env": {"maxProperties": 1},
        "file": {"maxProperties": 1},
        "secret": ["key"],
        "key": ["secret"],
    },
}
"""One of the ways, in words of JSON Schema."""


def _form(name: str) -> dict[str, Any]:
    return {"pattern": f"^{FORMS[name]}$"}


class FileReference(Options):
    """A secret by the file that holds it where the server runs."""

    model_config = ConfigDict(json_schema_extra=_ONE_WAY)

    file: str | None = Field(
        None,
        description="Absolute path of a file on the machine that serves.",
        examples=["/etc/digits/keys.txt"],
        json_schema_extra=_form("file"),
    )
    secret: str | None = Field(
        None,
        description="Name of a Kubernetes secret; in the image it lies in /run/secrets/modelspec/<secret>/<key>.",
        examples=["digits-keys"],
        json_schema_extra=_form("secret"),
    )
    key: str | None = Field(
        None, description="Which key of the secret.", examples=["keys.txt"], json_schema_extra=_form("key")
    )

    @model_validator(mode="before")
    @classmethod
    def _refers(cls, value: Any) -> Any:
        # Everything is checked here, before any other message could repeat a value, or a key that is one.
        if isinstance(value, cls):
            return value
        if not isinstance(value, dict):
            raise refuse("MS340", "a secret may not be written into the spec", _FIX)
        given = {name: text for name, text in value.items() if text is not None}
        ways = ({name} for name in cls.model_fields if name in {"env", "file"})
        if not set(value) <= set(cls.model_fields) or set(given) not in (*ways, {"secret", "key"}):
            raise refuse("MS341", f"a reference has {cls._ways()}", _FIX)
        for name, text in given.items():
            if not isinstance(text, str) or not re.fullmatch(FORMS[name], text):
                raise refuse("MS341", f"what '{name}' says is not {_MEANT[name]}", _FIX)
        return value

    @classmethod
    def _ways(cls) -> str:
        return "the key 'file', or 'secret' and 'key'"

    def published(self) -> dict[str, Any]:
        """The reference as runtime.json has it."""
        return self.model_dump(mode="json", exclude_none=True)


class Reference(FileReference):
    """A secret by the environment variable or the file that holds it where the server runs."""

    env: str | None = Field(
        None,
        description="Name of an environment variable of the server.",
        examples=["DIGITS_KEYS"],
        json_schema_extra=_form("env"),
    )

    @classmethod
    def _ways(cls) -> str:
        return "one of the keys 'env' and 'file', or 'secret' and 'key'"
