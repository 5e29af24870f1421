"""Whether an engine can be loaded here: asked before it is, because TensorRT's own answer may be a crash."""

from modelspec.engines.record import DISTRIBUTIONS, Record
from modelspec.errors import fail
from modelspec.nvidia import Gpu

FIRST_RTX = (8, 0)
"""The oldest compute capability that TensorRT for RTX builds for unasked."""


def require_loadable(record: Record, gpu: Gpu | None, version: str | None) -> None:
    """Raise MS421 for another GPU than that of the record, with both named, or for another release of the library."""
    if gpu is None:
        raise fail(
            "MS421", f"the engine is for {_made_for(record)}, and here is no NVIDIA GPU", help="run it where one is"
        )
    if not _fits(record, gpu):
        raise fail("MS421", f"the engine is for {_made_for(record)}, and here is {gpu}", help="build it again here")
    name = DISTRIBUTIONS[record.recipe.module]
    same = version == record.version
    if record.recipe.version_compatible and version is not None:
        same = version.split(".")[0] == record.version.split(".")[0]
    if not same:
        raise fail(
            "MS421",
            f"the engine is by {name} {record.version}, and here is {version or 'none'}",
            help=f"pip install {name}=={record.version}; or build it again here",
        )


def _made_for(record: Record) -> str:
    if record.device is not None:
        return str(record.device)
    wanted = record.recipe.compute_capabilities
    return f"GPUs of compute capability {', '.join(wanted) if wanted else '8.0 and later'}"


def _fits(record: Record, gpu: Gpu) -> bool:
    if record.device is None:
        wanted = record.recipe.compute_capabilities
        return gpu.compute_capability in wanted if wanted else _numbers(gpu.compute_capability) >= FIRST_RTX
    same = gpu.compute_capability == record.device.compute_capability
    match record.recipe.hardware_compatible:
        case "ampere_plus":
            return _numbers(gpu.compute_capability) >= FIRST_RTX
        case "same_compute_capability":
            return same
        case _:
            return same and gpu.name == record.device.name


def _numbers(capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in capability.split("."))
