"""Compresses what is published, so that zeros and repetitions in the weights pay; the model is measured unpacked."""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from modelspec.options import Options
from modelspec.stage import Determinism, Job, Request, Stage

WORTH = 0.9
"""A file that stays larger than this share of itself is not worth unpacking at each start."""


class Gzip(Options):
    """Read everywhere; the least compression."""

    compression: Literal["gzip"] = Field(description="Deflate, as gzip writes it.", examples=["gzip"])
    level: int = Field(9, ge=1, le=9, description="Effort: 1 is fast, 9 is small.", examples=[6])


class Xz(Options):
    """The smallest files, the slowest to make and to read."""

    compression: Literal["xz"] = Field(description="LZMA2, as xz writes it.", examples=["xz"])
    level: int = Field(6, ge=0, le=9, description="Effort: 0 is fast, 9 is small and takes much memory.", examples=[6])


class Zstd(Options):
    """Small, and fast to read."""

    compression: Literal["zstd"] = Field(description="Zstandard.", examples=["zstd"])
    level: int = Field(19, ge=1, le=22, description="Effort: 1 is fast, 22 is small.", examples=[3])


How = Annotated[Gzip | Xz | Zstd, Field(discriminator="compression")]


class Package(Stage):
    """artifact -> the same, compressed, each file by itself.

    It comes last, so that everything before works on the files as they were; that they come out the same is tried here.
    `size` is then the bytes that are published, `unpacked_size` those that the runtime loads. The library of xz does not
    tell its version, so that it is not keyed.
    """

    name: ClassVar[str] = "package"
    summary: ClassVar[str] = "compress what is published"
    revision: ClassVar[int] = 1
    after: ClassVar[tuple[str, ...]] = ("compile", "golden", "evaluate", "benchmark")
    takes: ClassVar[tuple[str, ...]] = ("artifact", "runtime")
    gives: ClassVar[tuple[str, ...]] = ("artifact", "runtime", "metrics")
    publishes: ClassVar[Mapping[str, str]] = {"artifact": "", "runtime": ""}
    optional: ClassVar[tuple[str, ...]] = ("zstandard",)
    determinism: ClassVar[Determinism] = Determinism.EXACT
    block: ClassVar[Any] = How

    how: How = Field(description="The format and its effort.", examples=[{"compression": "gzip"}])

    @classmethod
    def configure(cls, request: Request) -> Self | None:
        """Asked for by its block."""
        how = request.blocks.get(cls.name)
        return None if how is None else cls(how=how)

    def keyed(self) -> dict[str, Any]:
        """The format and its effort."""
        return self.how.model_dump(mode="json")

    def distributions(self) -> tuple[str, ...]:
        return self.optional if isinstance(self.how, Zstd) else ()

    def depends_on(self) -> tuple[str, ...]:
        return ("zlib",) if isinstance(self.how, Gzip) else ("liblzma",) if isinstance(self.how, Xz) else ()

    def run(self, job: Job) -> None:
        """Write the compressed files, what runtime.json says of them, and both sizes. Raises MS602 if they do not come back."""
        from modelspec.formats import packed

        artifact, target = job.input("artifact"), job.output("artifact")
        made = packed.pack(artifact, target, self.how.compression, self.how.level)
        with TemporaryDirectory(dir=job.root) as folder:
            packed.unpack(made, target, Path(folder))
        runtime = json.loads((job.input("runtime") / packed.RUNTIME).read_bytes())
        runtime[packed.KEY] = made.model_dump(mode="json")
        text = json.dumps(runtime, indent=2, sort_keys=True) + "\n"
        (job.output("runtime") / packed.RUNTIME).write_text(text)
        size, before = (sum(file.stat().st_size for file in folder.iterdir()) for folder in (target, artifact))
        if size > WORTH * before:
            job.warn(
                "MS557",
                f"compressed the model has {size} bytes, and {before} as it is",
                help="remove package: weights hardly shrink unless many of them are zero",
            )
        value = {"metrics": {"size": size, "unpacked_size": before}, "compression": self.how.compression}
        (job.output("metrics") / "package.json").write_text(json.dumps(value) + "\n")
