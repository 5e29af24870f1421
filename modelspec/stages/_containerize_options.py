"""What people write below `containerize:`, and what follows from it before anything runs."""

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from modelspec.errors import ModelspecError
from modelspec.oci import reference
from modelspec.options import Options, check_project_path, refuse
from modelspec.stage import Request

Platform = Literal["linux/amd64", "linux/arm64"]
PYTHON = "3.11"
LOCAL = ("oci:", "oci-archive:", "docker-archive:")
"""What a base image that lies in the project begins with, before its path."""
_OURS = re.compile(r"(org\.opencontainers\.image|dev\.modelspec)\b")
_LABEL = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_DEBIAN = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+](?:=[A-Za-z0-9][A-Za-z0-9.+:~-]*)?")
_TAG = re.compile(r"(3\.[0-9]+)(?:\.[0-9]+)?(?:[.-]|$)")


def _image(value: str) -> str:
    found = _parsed(value)
    if found.tag or found.digest:
        raise refuse("MS345", f"{value!r} has a tag or a digest", "write the repository alone: its tag is `version`")
    return value


def _parsed(value: str) -> reference.Reference:
    try:
        return reference.parse(value)
    except ModelspecError as error:
        raise refuse("MS345", error.diagnostics[0].message, error.diagnostics[0].help) from error


def _base(value: str) -> str:
    if value.startswith(LOCAL):
        check_project_path(value.partition(":")[2])
    elif not _parsed(value).tag and not _parsed(value).digest:
        raise refuse("MS345", f"{value!r} has neither tag nor digest", f"for example: {value}:{PYTHON}-slim")
    return value


def _labels(value: dict[str, str]) -> dict[str, str]:
    for key in value:
        if not _LABEL.fullmatch(key):
            raise refuse("MS346", f"{key!r} is not a label: lower-case letters and digits with . and - between", "for example: com.example.team")  # fmt: skip
        if _OURS.match(key):
            raise refuse("MS346", f"the label {key!r} is written by the build", "use source, revision and card, or a name of your own")  # fmt: skip
    return value


def _package(value: str) -> str:
    if not _DEBIAN.fullmatch(value):
        fix = "a name as `apt-cache search` shows it, and its version if you want: libgomp1 or libgomp1=12.2.0-14"
        raise refuse("MS206", f"{value!r} is not a Debian package", fix)
    return value


def _program(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or not value[0]:
        raise refuse("MS206", "a program to run has a name", 'for example: ["ldconfig"]')
    return value


class Block(Options):
    """The image of the server and the model."""

    image: Annotated[str, AfterValidator(_image)] | None = Field(
        None,
        description="Registry and repository that the image is for, without a tag. Default: the model's name.",
        examples=["registry.example/vision/digits"],
    )
    base: Annotated[str, AfterValidator(_base)] | None = Field(
        None,
        description="The image below: a reference, or `oci:`, `oci-archive:` or `docker-archive:` and a path. It has to have Python. Default: the device's.",
        examples=["docker.io/library/python:3.11-slim", "oci:base"],
    )
    python: str | None = Field(
        None,
        pattern=r"^3\.1[1-9]$",
        description="Version of the base's Python, which the packages are for. Default: the one in the tag of a `python` image, or 3.11.",
        examples=["3.11"],
    )
    platforms: tuple[Platform, ...] = Field(
        ("linux/amd64",),
        min_length=1,
        description="What the image runs on; of several, one index is made.",
        examples=[["linux/amd64"]],
    )
    grpc_port: int | None = Field(
        None, ge=1, le=65535, description="Port for gRPC, whose packages are added then.", examples=[9000]
    )
    labels: Annotated[dict[str, str], AfterValidator(_labels)] = Field(
        default_factory=dict, description="Labels of your own.", examples=[{"com.example.team": "vision"}]
    )
    source: str | None = Field(
        None, min_length=1, description="Where the sources are, for a label.", examples=["https://git.example/digits"]
    )
    revision: str | None = Field(
        None, min_length=1, description="Which revision of them, for a label.", examples=["4f2a9c1"]
    )
    epoch: int = Field(
        0,
        ge=0,
        le=4102444800,
        description="Time of every file and of the image itself, in seconds since 1970; no clock is asked, nor the environment.",
        examples=[1767225600],
    )

    builder: Literal["layers", "docker"] = Field(
        "layers",
        description="`layers` assembles the image without a daemon, the same bytes each time; `docker` has the Docker engine "
        "make what `apt` and `run` ask for, on the base image, and the first result is kept.",
        examples=["docker"],
    )
    apt: tuple[Annotated[str, AfterValidator(_package)], ...] = Field(
        (), description="Debian packages to install on the base image; `builder: docker`.", examples=[["libgomp1"]]
    )
    run: tuple[Annotated[tuple[str, ...], AfterValidator(_program)], ...] = Field(
        (),
        description="Programs to run as root on the base image, each with its arguments and without a shell; `builder: docker`.",
        examples=[[["ldconfig"], ["rm", "-rf", "/usr/share/doc"]]],
    )

    paths: ClassVar[tuple[str, ...]] = ("base",)
    folders: ClassVar[tuple[str, ...]] = ("base",)

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if len(set(self.platforms)) != len(self.platforms):
            raise refuse("MS319", "a platform is there twice", "remove one of the two")
        asked = [name for name in ("apt", "run") if getattr(self, name)]
        if asked and self.builder == "layers":
            raise refuse(
                "MS319", f"{asked[0]} needs an engine, and the image is assembled without one", "builder: docker"
            )
        if self.builder == "docker" and not asked:
            raise refuse(
                "MS319", "builder: docker has nothing to do without apt and run", "remove it, or write what it is for"
            )
        tagged = _tagged(self.base) if self.base else None
        if tagged and self.python and tagged != self.python:
            raise refuse("MS347", f"the base image has Python {tagged}, and python says {self.python}", "remove python")
        return self

    def named_by(self, field: str) -> Any:
        """The path of a base image that lies in the project."""
        if field == "base":
            return self.base.partition(":")[2] if self.base and self.base.startswith(LOCAL) else ()
        return super().named_by(field)

    def chosen_base(self, request: Request) -> str:
        """The one that is written, or that of the device."""
        assert request.target is not None
        return self.base or request.target.base_image.replace("{python}", self.python or PYTHON)

    def chosen_python(self, request: Request) -> str:
        """The version that the packages are for."""
        return self.python or _tagged(self.chosen_base(request)) or PYTHON


def _tagged(base: str) -> str | None:
    """The version in the tag of an image that is called python."""
    if base.startswith(LOCAL):
        return None
    found = reference.parse(base)
    version = _TAG.match(found.tag) if found.repository.rpartition("/")[2] == "python" else None
    return version[1] if version else None


def block_of(request: Request) -> Block | None:
    """The block, where there is one."""
    found: Block | None = request.blocks.get("containerize")
    return found
