"""What every block of model.yaml is made of: frozen options that refuse unknown keys, and shared scalar types."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError


class Options(BaseModel):
    """Frozen, strict, and closed: an unknown key or a value of another type is an error, never a guess."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        defer_build=True,
        allow_inf_nan=False,
        validate_default=False,
    )

    paths: ClassVar[tuple[str, ...]] = ()
    """Fields that name a file of the project. Its digest is keyed as an input of that name, not the path."""
    folders: ClassVar[tuple[str, ...]] = ()
    """Those of them that may name a folder."""

    input_names: ClassVar[Mapping[str, str]] = {}
    """The inputs that those files become, where a field's own name may be another's."""

    def named_by(self, field: str) -> Any:
        """The file that a field of `paths` names; a tuple of several, or none."""
        return getattr(self, field)

    def entrypoints(self) -> tuple[str, ...]:
        """The user code these options call, each as `file.py:callable`."""
        return ()

    def keyed(self) -> dict[str, Any]:
        """The options that can change an output, defaults included, as JSON values."""
        return self.model_dump(mode="json", exclude=set(self.paths))


def refuse(code: str, message: str, help: str = "") -> PydanticCustomError:
    """The error a validator raises; `spec` turns it into the diagnostic `code` at the value's position."""
    escaped = message.replace("{", "{{").replace("}", "}}")
    return PydanticCustomError(code, escaped, {"help": help})


def check_project_path(value: str) -> str:
    """The value, if it is a path inside the project; else MS210 or MS211."""
    path = PurePosixPath(value)
    if not value or value != value.strip() or any(ord(char) < 32 for char in value):
        raise refuse(
            "MS210", "a path may not be empty, or hold control characters or outer spaces", "write the name alone"
        )
    if path.is_absolute() or ".." in path.parts or "\\" in value or re.match(r"^[A-Za-z]:", value):
        raise refuse(
            "MS211",
            f"the path {value!r} leaves the folder of the spec",
            "copy the file below the folder of model.yaml, or move model.yaml up",
        )
    return value


def _pattern(value: str) -> str:
    parts = PurePosixPath(check_project_path(value)).parts
    if not parts or any("**" in part and part != "**" for part in parts):
        raise refuse("MS210", f"{value!r} is not a pattern of files", "for example: src/**/*.py")
    return value


def text(pattern: str) -> WithJsonSchema:
    """What a JSON Schema says of a string whose form a validator checks."""
    return WithJsonSchema({"type": "string", "pattern": pattern})


ProjectPath = Annotated[str, AfterValidator(check_project_path)]
"""A path relative to the spec's folder, with forward slashes, that stays inside it."""
Pattern = Annotated[str, AfterValidator(_pattern)]
"""A glob relative to the spec's folder; `**` stands for any folders between."""

ENTRYPOINT = r"^[^:]+\.py:[A-Za-z_][A-Za-z0-9_]*$"


def check_entrypoint(value: str) -> str:
    """The value, if it is `file.py:callable`; else MS212."""
    if not re.fullmatch(ENTRYPOINT, value):
        raise refuse("MS212", f"{value!r} is not of the form file.py:callable", "for example: model.py:build")
    check_project_path(value.partition(":")[0])
    return value


Entrypoint = Annotated[str, AfterValidator(check_entrypoint), text(ENTRYPOINT)]
"""`file.py:callable`: the one spelling for user code."""


def _as_json(value: Any) -> Any:
    """A spec holds tuples; JSON, and the callables of users, know lists."""
    if isinstance(value, tuple):
        return [_as_json(item) for item in value]
    return {key: _as_json(item) for key, item in value.items()} if isinstance(value, dict) else value


Params = Annotated[dict[str, JsonValue], BeforeValidator(_as_json)]
"""Keyword arguments of user code: any JSON."""

_SIZES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_DURATIONS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
QUANTITY = rf"^([0-9]{{1,30}}(?:\.[0-9]{{1,30}})?) ?({'|'.join([*_SIZES, *_DURATIONS])})$"


def parse_quantity(value: object) -> tuple[float, str]:
    """A number with a unit: bytes (`30MB`, `256MiB`) or seconds (`5ms`); returns the value and `bytes` or `seconds`."""
    match = re.fullmatch(QUANTITY, value) if isinstance(value, str) else None
    if match is None:
        raise refuse("MS213", f"{value!r} is not a quantity with a unit", "for example: 30MB, 256MiB, 5ms or 2s")
    number, unit = float(match[1]), match[2]
    return (number * _SIZES[unit], "bytes") if unit in _SIZES else (number * _DURATIONS[unit], "seconds")


def bytes_shown(size: float, digits: int = 1) -> str:
    """Bytes as people read them: 31.9 kB."""
    unit = next((unit for unit in ("GB", "MB", "kB") if size >= _SIZES[unit]), "B")
    return f"{size:.0f} B" if unit == "B" else f"{size / _SIZES[unit]:.{digits}f} {unit}"


def _size(value: object) -> int:
    number, unit = parse_quantity(value)
    if unit != "bytes":
        raise refuse("MS213", f"{value!r} is a duration where a size is wanted", "for example: 30MB or 256MiB")
    return round(number)


def _duration(value: object) -> float:
    number, unit = parse_quantity(value)
    if unit != "seconds":
        raise refuse("MS213", f"{value!r} is a size where a duration is wanted", "for example: 5ms or 2s")
    if not number:
        raise refuse("MS205", "a duration of nothing", "for example: 5ms or 2s")
    return number


# Written out with a unit again, for a worker reads its options as the spec is read.
Size = Annotated[
    int,
    BeforeValidator(_size),
    PlainSerializer(lambda size: f"{size}B", when_used="json"),
    Field(json_schema_extra={"type": "string", "examples": ["30MB"]}),
]
"""Bytes, written with a unit."""
Duration = Annotated[
    float,
    BeforeValidator(_duration),
    PlainSerializer(lambda seconds: f"{seconds:.9f}s", when_used="json"),
    Field(json_schema_extra={"type": "string", "examples": ["5ms"]}),
]
"""Seconds, written with a unit."""
