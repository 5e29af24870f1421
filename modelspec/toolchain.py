"""What is installed, and what the machine is: read from metadata and the kernel, without importing any tool."""

import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from modelspec import digest, nvidia

ABSENT = ""
"""Stands for the version of what is not installed."""

ISA_FLAGS = (
    "sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni",
    "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "sve", "sve2", "bf16",
)  # fmt: skip
"""CPU features that numeric kernels choose their code by."""


VNNI = ("avx512_vnni", "avx_vnni")
"""Either adds 8-bit products in 32 bits."""


def normalized(name: str) -> str:
    """The comparable form of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def _installed() -> dict[str, str]:
    """Every distribution on the path, normalised name -> version.

    Read from the names of the metadata folders: importlib.metadata parses every file, and costs as much as all of
    `validate`.
    """
    found: dict[str, str] = {}
    for entry in sys.path:
        try:
            names = os.listdir(entry or ".")  # noqa: PTH208 - a Path per entry is what makes this slow
        except OSError:
            continue
        for name in names:
            stem, dot, suffix = name.rpartition(".")
            if dot and suffix in {"dist-info", "egg-info"} and "-" in stem:
                distribution, version = stem.split("-")[:2]
                found.setdefault(normalized(distribution), version)
    return found


_assumed: dict[str, str] = {}


@contextmanager
def assuming(versions: Mapping[str, str]) -> Iterator[None]:
    """Answer as on a machine where these are installed: a hook judges what others built, and has none of their tools."""
    _assumed.update({normalized(name): number for name, number in versions.items()})
    try:
        yield
    finally:
        _assumed.clear()


def version(distribution: str) -> str | None:
    """The installed version, or None. `python` is the interpreter's, without the patch level."""
    if (assumed := _assumed.get(normalized(distribution))) is not None:
        return assumed
    if distribution == "python":
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    return _installed().get(normalized(distribution))


def missing(distributions: Iterable[str]) -> list[str]:
    """Those that are not installed, sorted."""
    return sorted({name for name in distributions if version(name) is None})


@cache
def own_version() -> str:
    """The version of modelspec itself."""
    return version("modelspec-build") or "0+unknown"


@cache
def _cpuinfo() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    first = text.split("\n\n", 1)[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def fact(name: str) -> str:
    """One fact that no distribution tells: `arch`, `isa`, `cpu`, `cores`, `machine` (a digest; names no host), `zlib`, `liblzma`;
    of the first NVIDIA GPU `gpu`, `driver`, `cuda`."""
    if name == "arch":
        return platform.machine().lower().replace("amd64", "x86_64").replace("arm64", "aarch64")
    if name == "isa":
        features = _cpuinfo().get("flags") or _cpuinfo().get("Features") or ""
        present = set(features.split())
        return "+".join(flag for flag in ISA_FLAGS if flag in present) or "baseline"
    if name == "cpu":
        return _cpuinfo().get("model name") or platform.processor() or "unknown"
    if name == "cores":
        return str(_cores())
    if name == "machine":
        return _machine()
    if name == "liblzma":
        return _liblzma()
    if name == "zlib":
        import zlib  # not by every command that asks for a version

        return zlib.ZLIB_RUNTIME_VERSION
    if name in {"gpu", "driver", "cuda"}:
        gpu = nvidia.first()
        return "none" if gpu is None else str(gpu) if name == "gpu" else getattr(gpu, name)
    raise KeyError(name)


def lacks(isa: str, needs: Iterable[str]) -> bool:
    """Whether a CPU adds 8-bit products in 16 bits: x86-64 with AVX2, and with none of what a model `needs`."""
    present = set(isa.split("+"))
    return "avx2" in present and not present.intersection(needs)


def facts(names: Iterable[str]) -> dict[str, str]:
    """Several hardware facts by name."""
    return {name: fact(name) for name in sorted(set(names))}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _liblzma() -> str:
    """The module tells no version; the library that it is linked with does, where it can be asked."""
    import _lzma
    import ctypes

    try:
        ask = ctypes.CDLL(_lzma.__file__).lzma_version_string
    except (AttributeError, OSError):  # built into the interpreter
        return "unknown"
    ask.restype = ctypes.c_char_p
    return str(ask().decode())


def _machine() -> str:
    for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")):
        try:
            return digest.of_bytes(path.read_bytes())[:16]
        except OSError:
            continue
    return digest.of_bytes(platform.node().encode())[:16]
