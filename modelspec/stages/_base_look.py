"""Which Python a base image has, and whether it has the C library that wheels are built for."""

import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelspec.errors import fail

_PYTHON = re.compile(r"(?:\./)?(usr/local/bin|usr/bin|bin|opt/[^/]+/bin)/python(3\.\d+)")
_SHORT = re.compile(r"(?:\./)?(usr/local/bin|usr/bin|bin|opt/[^/]+/bin)/python3")
_MUSL = re.compile(r"(?:\./)?(?:usr/)?lib/ld-musl-[^/]+\.so\.1")
_GLIBC = re.compile(r"(?:\./)?(?:usr/)?(?:lib|lib64|lib/[^/]+)/libc\.so\.6")
_PREFERRED = ("usr/local/bin", "usr/bin", "bin")
_ZSTD = b"\x28\xb5\x2f\xfd"


class Look:
    """What the names in a base's layers tell."""

    def __init__(self) -> None:
        self.versions: dict[str, set[str]] = {}
        self.links: dict[str, str] = {}
        self.musl = self.glibc = False

    def at(self, layer: Path) -> None:
        """Take in one more layer. Raises MS541 for what is no tar."""
        try:
            with _tar(layer) as tar:
                for member in tar:
                    self._name(member)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise fail("MS541", f"a layer of the base image cannot be read: {error}", help="push or save it again", path=("base",)) from error  # fmt: skip

    def _name(self, member: tarfile.TarInfo) -> None:
        if found := _PYTHON.fullmatch(member.name):
            self.versions.setdefault(found[1], set()).add(found[2])
        elif found := _SHORT.fullmatch(member.name):
            target = re.search(r"python(3\.\d+)$", member.linkname)
            if target:
                self.links[found[1]] = target[1]
        elif _MUSL.fullmatch(member.name):
            self.musl = True
        elif _GLIBC.fullmatch(member.name):
            self.glibc = True

    def python(self, config: dict[str, Any]) -> str:
        """Major and minor version of what `python3` is; empty where there is none."""
        environment = dict(entry.partition("=")[::2] for entry in (config.get("config") or {}).get("Env") or ())
        if said := re.match(r"3\.\d+", environment.get("PYTHON_VERSION", "")):
            return said[0]
        for folder in (*_PREFERRED, *self.versions):
            if folder in self.links:
                return self.links[folder]
            if len(self.versions.get(folder, ())) == 1:
                return next(iter(self.versions[folder]))
        return ""


@contextmanager
def _tar(layer: Path) -> Iterator[tarfile.TarFile]:
    with layer.open("rb") as file:
        compressed = file.read(4) == _ZSTD
        file.seek(0)
        if not compressed:
            with tarfile.open(fileobj=file, mode="r|*") as tar:
                yield tar
            return
        try:
            import zstandard
        except ImportError as error:
            raise fail("MS541", "a layer of the base image is compressed with zstd", help="pip install zstandard", path=("base",)) from error  # fmt: skip
        with zstandard.ZstdDecompressor().stream_reader(file) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            yield tar
