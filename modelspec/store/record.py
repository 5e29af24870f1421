"""The record of a finished action: what went in, in full, and what came out. JSON, with its own digest."""

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from modelspec import digest
from modelspec.errors import Diagnostic

FORMAT = 1

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Output:
    """One file an action made; `path` starts with the slot."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Record:
    """A finished action. `preimage` is the whole value whose digest is the key: a difference can be explained."""

    key: str
    preimage: dict[str, Any]
    outputs: tuple[Output, ...]
    determinism: str
    seconds: float
    warnings: tuple[dict[str, Any], ...] = field(default=())

    def slot(self, name: str) -> dict[str, str]:
        """The files of one slot, relative path -> digest."""
        prefix = f"{name}/"
        return {o.path.removeprefix(prefix): o.sha256 for o in self.outputs if o.path.startswith(prefix)}

    def size(self, path: str) -> int:
        """Bytes of one output."""
        return next(output.size for output in self.outputs if output.path == path)

    def diagnostics(self) -> list[Diagnostic]:
        """The warnings the stage gave when it ran."""
        return [Diagnostic(**{**w, "path": tuple(w["path"])}, severity="warning") for w in self.warnings]

    def to_bytes(self) -> bytes:
        """The file form: canonical JSON, a newline, the SHA-256 of what stands before it, a newline."""
        body = digest.canonical_json({"formatVersion": FORMAT, **asdict(self)}) + b"\n"
        return body + digest.of_bytes(body).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, key: str) -> "Record | None":
        """The record, or None when the bytes are torn, altered, of another key or another format."""
        body, _, rest = data.partition(b"\n")
        if rest != digest.of_bytes(body + b"\n").encode() + b"\n":
            return None
        try:
            value = json.loads(body)
            if value.pop("formatVersion", None) != FORMAT or value.get("key") != key:
                return None
            outputs = tuple(Output(**output) for output in value.pop("outputs"))
            record = cls(outputs=outputs, warnings=tuple(value.pop("warnings")), **value)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        return record if all(map(_is_inside, outputs)) else None


def _is_inside(output: Output) -> bool:
    """Whether an output names bytes by a digest and a place below the folder it will be copied to."""
    parts = output.path.split("/")
    return bool(_SHA256.fullmatch(output.sha256)) and len(parts) > 1 and not {"", ".", ".."} & set(parts)
