"""A file that is not in the project: where its bytes come from, and the digest that says which bytes they have to be."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Discriminator, Field, Tag

from modelspec.options import Options, ProjectPath, refuse, text

_URI = r"^[a-z][a-z0-9+.-]*://[^\s\\]+$"
_SHA256 = r"^[0-9a-f]{64}$"
_LONGEST_NAME = 255


def name_of(uri: str) -> str:
    """The last segment of the path: frameworks and loaders choose by its suffix."""
    return unquote(urlsplit(uri).path.rpartition("/")[2])


def _uri(value: str) -> str:
    example = "for example: https://example.com/models/weights.safetensors"
    if not re.fullmatch(_URI, value) or not value.isprintable() or "::" in value:
        raise refuse("MS206", f"{value!r} is not an address of one file", example)
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise refuse("MS206", f"{value!r} is not an address of one file: {error}", example) from error
    is_web = parts.scheme in {"http", "https"}
    if parts.password is not None or (is_web and parts.username is not None):
        raise refuse(
            "MS216",
            "an address may not hold a user or a password",
            "remove what stands before the @; model.yaml and model.lock are read by many",
        )
    if is_web and not host:
        raise refuse("MS206", f"{value!r} names no host", example)
    if parts.scheme == "file" and host not in {"", "localhost"}:
        raise refuse("MS206", f"{value!r} names a file of another machine", "write file:///folder/name")
    if parts.fragment:
        raise refuse("MS206", f"{value!r} has a fragment, which no server sees", "remove the # and what follows it")
    name = name_of(value)
    if name in {"", ".", ".."} or PurePosixPath(name).name != name or "\\" in name or not name.isprintable():
        raise refuse("MS206", f"the path of {value!r} does not end in the name of a file", example)
    if len(name.encode()) > _LONGEST_NAME:
        raise refuse("MS206", f"the name of the file has more than {_LONGEST_NAME} bytes", example)
    return value


def _sha256(value: str) -> str:
    if not re.fullmatch(_SHA256, value):
        raise refuse("MS206", f"{value!r} is not a SHA-256: 64 lower-case hex digits", "print it with: sha256sum FILE")
    return value


class Remote(Options):
    """A file by its address and its digest."""

    uri: Annotated[str, AfterValidator(_uri), text(_URI)] = Field(
        description="Where it is: https, http, file, or what fsspec reads. The last part of the path is the file's name.",
        examples=["https://example.com/models/weights.safetensors"],
    )
    sha256: Annotated[str, AfterValidator(_sha256), text(_SHA256)] = Field(
        description="The SHA-256 of its bytes; any others are refused.",
        examples=["0743c21c3a33f7c7613e29511ff6987fbab2493d910bbb0f2c2fa683e8e2df46"],
    )

    @property
    def file_name(self) -> str:
        """What the file is called where it is used."""
        return name_of(self.uri)


def _kind(value: Any) -> str:
    return "remote" if isinstance(value, dict | Remote) else "path"


ProjectFile = Annotated[
    Annotated[ProjectPath, Tag("path")] | Annotated[Remote, Tag("remote")],
    Discriminator(_kind),
]
"""A path of the project, or `{uri: ..., sha256: ...}`."""


def file_name(file: str | Remote) -> str:
    """What a file of this kind is called where it is used: frameworks and loaders choose by its suffix."""
    return file if isinstance(file, str) else file.file_name


def project_paths(value: Any) -> tuple[str, ...]:
    """The paths of the project that a field of this kind, or a list of them, names."""
    names = value if isinstance(value, tuple) else (value,)
    return tuple(name for name in names if isinstance(name, str))
