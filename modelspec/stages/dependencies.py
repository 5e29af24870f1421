"""Brings the packages that the server in an image needs: wheels by digest, as one layer."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

from modelspec import toolchain
from modelspec.lookup import Found, Lookup
from modelspec.stage import Determinism, Job, Request, Stage
from modelspec.stages._containerize_options import block_of

FOLDER = "opt/modelspec/packages"
_SERVER = ("httptools>=0.6.4", "orjson>=3.10", "prometheus-client>=0.21", "uvicorn>=0.54,<1", "uvloop>=0.21")
_GRPC = ("grpcio>=1.70", "protobuf>=5.29")
_SAME = ("numpy", "onnxruntime")
"""Of the version that the model was built and verified with."""
_ABSENT = "absent"
_LEFT_OUT = ("bin/", ".lock")
"""Scripts begin with the path of the interpreter that installed them; the lock is uv's own."""
_WRITTEN = ("RECORD", "INSTALLER", "REQUESTED", "uv_cache.json", "direct_url.json")
"""Files of a .dist-info that say how it was installed, not what it is."""


@dataclass(frozen=True)
class WheelsLookup(Lookup):
    """Which wheels satisfy the server's requirements on a platform."""

    requirements: tuple[str, ...]
    python: str
    platform: str
    lacking: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{', '.join(self.requirements)} for Python {self.python} on {self.platform}"

    @property
    def impossible(self) -> str:
        return f"not installed: {', '.join(self.lacking)}" if self.lacking else ""

    def is_like(self, name: str) -> bool:
        return re.fullmatch(re.escape(self.name).replace(f"=={_ABSENT}", "==[^,]+"), name) is not None

    def find(self) -> Found:
        """Ask the package index, through uv."""
        from modelspec.stages._dependencies_uv import resolve

        return resolve(self.requirements, self.python, self.platform)


class Dependencies(Stage):
    """Names, versions and digests of wheels -> a layer for each platform."""

    name: ClassVar[str] = "dependencies"
    summary: ClassVar[str] = "bring the packages of the server, by digest"
    revision: ClassVar[int] = 1
    gives: ClassVar[tuple[str, ...]] = ("packages", "packages-layer")
    publishes: ClassVar[Mapping[str, str]] = {"packages": "image/blobs/sha256"}
    determinism: ClassVar[Determinism] = Determinism.EXACT
    gated: ClassVar[bool] = True
    network: ClassVar[bool] = True
    extra: ClassVar[str] = "containerize"
    block: ClassVar[Any] = False

    python: str = Field(description="Version of Python.", examples=["3.11"])
    wheels: dict[str, dict[str, str]] = Field(description="Wheels by platform and name.", examples=[{}])
    epoch: int = Field(description="Time of every file.", examples=[0])

    @classmethod
    def lookups(cls, request: Request) -> tuple[Lookup, ...]:
        block = block_of(request)
        if block is None:
            return ()
        wanted = tuple(_requirements(request))
        lacking = tuple(toolchain.missing(("uv", *_SAME)))
        python = block.chosen_python(request)
        return tuple(WheelsLookup(cls.name, wanted, python, each, lacking) for each in block.platforms)

    @classmethod
    def configure(cls, request: Request) -> Self | None:
        """Asked for by an image."""
        block = block_of(request)
        if block is None:
            return None
        wheels = {
            lookup.platform: dict(request.found.get(lookup.name, {}))
            for lookup in cls.lookups(request)
            if isinstance(lookup, WheelsLookup)
        }
        return cls(python=block.chosen_python(request), wheels=wheels, epoch=block.epoch)

    @classmethod
    def origin(cls, request: Request) -> tuple[str | int, ...]:
        return ("containerize",)

    def unresolved(self) -> str:
        return "" if all(self.wheels.values()) else "which wheels the server takes"

    def tools(self) -> tuple[str, ...]:
        return ("uv",)

    def address(self) -> str:
        return "the wheels of the server"

    def run(self, job: Job) -> None:
        """Write a layer for each platform, and its descriptor. Raises MS410."""
        from modelspec.oci import layer
        from modelspec.stages._dependencies_uv import install

        blobs, about = job.output("packages"), job.output("packages-layer")
        for platform, wheels in self.wheels.items():
            scratch = job.root / "tmp" / platform.replace("/", "-")
            scratch.mkdir(parents=True)
            install(wheels, self.python, platform, scratch / "packages", scratch)
            contents = dict(_contents(scratch / "packages"))
            made = layer.write(contents, draft := job.root / "tmp" / "layer", self.epoch)
            draft.rename(blobs / made.digest.removeprefix("sha256:"))
            text = json.dumps(made.to_json(), sort_keys=True) + "\n"
            (about / f"{platform.replace('/', '-')}.json").write_text(text)


def _requirements(request: Request) -> Iterator[str]:
    """What the server imports, for this model and these options."""
    yield from (f"{name}=={toolchain.version(name) or _ABSENT}" for name in _SAME)
    yield from _SERVER
    block, package, processing = block_of(request), *(request.blocks.get(name) for name in ("package", "processing"))
    if block is not None and block.grpc_port is not None:
        yield from _GRPC
    if package is not None and package.compression == "zstd":
        yield "zstandard>=0.23"
    if getattr(processing, "tokenizer", None) is not None:
        yield "tokenizers>=0.20"


def _contents(folder: Path) -> Iterator[tuple[str, Any]]:
    from modelspec import digest
    from modelspec.oci.layer import Content

    for name in digest.files_under(folder):
        path = folder / name
        parent, _, base = name.rpartition("/")
        if name.startswith(_LEFT_OUT) or name.endswith((".pyc", ".pyo")) or (parent.endswith(".dist-info") and base in _WRITTEN):  # fmt: skip
            continue
        yield f"{FOLDER}/{name}", Content(path, executable=bool(path.stat().st_mode & 0o100))
