"""Brings the image that another image is built on: its blobs go into the layout as they are."""

import json
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

from modelspec.errors import fail
from modelspec.lookup import Found, Lookup
from modelspec.stage import Determinism, Job, Request, Stage
from modelspec.stages._containerize_options import LOCAL, block_of


@dataclass(frozen=True)
class BaseLookup(Lookup):
    """Which manifest a reference stands for on a platform."""

    reference: str
    platform: str

    @property
    def name(self) -> str:
        return f"{self.reference} for {self.platform}"

    @property
    def place(self) -> tuple[str, ...]:
        return ("containerize", "base")

    def find(self) -> Found:
        """Ask the registry."""
        from modelspec.oci.reference import parse
        from modelspec.oci.registry import Registry

        reference = parse(self.reference)
        return {"manifest": Registry(reference.host).resolve(reference, self.platform).digest}


class Base(Stage):
    """A reference, or files of the project -> layers and config of an image."""

    name: ClassVar[str] = "base"
    summary: ClassVar[str] = "bring the base image, by digest"
    revision: ClassVar[int] = 2
    gives: ClassVar[tuple[str, ...]] = ("base", "base-image")
    publishes: ClassVar[Mapping[str, str]] = {"base": "image/blobs/sha256"}
    determinism: ClassVar[Determinism] = Determinism.EXACT
    gated: ClassVar[bool] = True
    network: ClassVar[bool] = True
    block: ClassVar[Any] = False
    paths: ClassVar[tuple[str, ...]] = ("base",)

    base: str = Field(description="A reference, or where it lies in the project.", examples=["python:3.11-slim"])
    python: str = Field(description="The version of Python that it has to have.", examples=["3.11"])
    manifests: dict[str, str] = Field(description="The digest of its manifest for each platform.", examples=[{}])
    """Empty digests for what is not known yet, and for what lies in the project."""

    @classmethod
    def lookups(cls, request: Request) -> tuple[Lookup, ...]:
        block = block_of(request)
        if block is None or (base := block.chosen_base(request)).startswith(LOCAL):
            return ()
        return tuple(BaseLookup(cls.name, base, platform) for platform in block.platforms)

    @classmethod
    def configure(cls, request: Request) -> Self | None:
        """Asked for by an image."""
        block = block_of(request)
        if block is None:
            return None
        digests = dict.fromkeys(block.platforms, "") | {
            lookup.platform: request.found.get(lookup.name, {}).get("manifest", "")
            for lookup in cls.lookups(request)
            if isinstance(lookup, BaseLookup)
        }
        return cls(base=block.chosen_base(request), python=block.chosen_python(request), manifests=digests)

    @classmethod
    def origin(cls, request: Request) -> tuple[str | int, ...]:
        return ("containerize",)

    @property
    def is_local(self) -> bool:
        """Whether it lies in the project."""
        return self.base.startswith(LOCAL)

    def unresolved(self) -> str:
        return "" if self.is_local or all(self.manifests.values()) else f"the digest of {self.base}"

    def address(self) -> str:
        return "" if self.is_local else self.base

    def run(self, job: Job) -> None:
        """Write the layers, and for each platform what is said of them. Raises MS541, MS542, MS543 and those of registries."""
        blobs, about = job.output("base"), job.output("base-image")
        for platform, manifest in self.manifests.items():
            config, layers = self._brought(job, platform, manifest, blobs)
            self._check(platform, config, [blobs / layer.digest.removeprefix("sha256:") for layer in layers])
            said = {"config": config, "layers": [layer.to_json() for layer in layers], "reference": "", "digest": ""}
            if not self.is_local:
                said |= {"digest": manifest, "reference": self.base.partition("@")[0]}
            (about / f"{platform.replace('/', '-')}.json").write_text(json.dumps(said, sort_keys=True) + "\n")

    def _brought(self, job: Job, platform: str, manifest: str, blobs: Path) -> Any:
        from modelspec.oci.reference import parse
        from modelspec.stages._base_source import Files, from_files, from_registry

        if self.is_local:
            with closing(Files(next(job.input("base").iterdir()))) as files:
                return from_files(files, platform, blobs)
        return from_registry(parse(self.base).at(digest=manifest), blobs, lambda text: print(text, file=sys.stderr))  # noqa: T201 - the log

    def _check(self, platform: str, config: dict[str, Any], layers: list[Path]) -> None:
        from modelspec.stages._base_look import Look

        built = f"{config['os']}/{config['architecture']}"
        if built != platform:
            raise fail("MS543", f"the base image is built for {built}, and the image is for {platform}", help=f"write platforms: [{built}]; or use another base", path=("platforms",))  # fmt: skip
        look = Look()
        for layer in layers:
            look.at(layer)
        if look.musl and not look.glibc:
            raise fail("MS541", "the base image has musl, and the packages are built for glibc", help="use a Debian or Ubuntu base, such as python:3.11-slim", path=("base",))  # fmt: skip
        found = look.python(config)
        if found != self.python:
            has = f"has Python {found}" if found else "has no Python"
            fix = f'write python: "{found}"' if found else "use a base with Python, such as python:3.11-slim"
            raise fail("MS542", f"the base image {has}, and the packages are for {self.python}", help=fix, path=("base",))  # fmt: skip
