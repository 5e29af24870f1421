"""The GPUs of this machine and their driver, told by NVIDIA's management library: no CUDA is initialised, no tool imported."""

from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

LIBRARY = "libnvidia-ml.so.1"
_TEXT = 96


@dataclass(frozen=True)
class Gpu:
    """One GPU, and what drives it."""

    name: str
    compute_capability: str
    driver: str
    cuda: str
    """The newest CUDA that the driver serves."""

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.compute_capability})"


@cache
def gpus() -> tuple[Gpu, ...]:
    """Every GPU, in the driver's order; none where there is no driver."""
    import ctypes  # not by every command

    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return ()
    with suppress(AttributeError):  # a library of this name that is another
        if library.nvmlInit_v2() == 0:
            try:
                return _read(library)
            finally:
                library.nvmlShutdown()
    return ()


def first() -> Gpu | None:
    """The GPU that is built for and run on: the first."""
    return next(iter(gpus()), None)


def _read(library: "ctypes.CDLL") -> tuple[Gpu, ...]:
    import ctypes

    count, version = ctypes.c_uint(), ctypes.c_int()
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    library.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(version))
    driver = ctypes.create_string_buffer(_TEXT)
    library.nvmlSystemGetDriverVersion(driver, _TEXT)
    cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return tuple(_one(library, index, driver.value.decode(), cuda) for index in range(count.value))


def _one(library: "ctypes.CDLL", index: int, driver: str, cuda: str) -> Gpu:
    import ctypes

    handle, major, minor = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
    library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
    name = ctypes.create_string_buffer(_TEXT)
    library.nvmlDeviceGetName(handle, name, _TEXT)
    library.nvmlDeviceGetCudaComputeCapability(handle, ctypes.byref(major), ctypes.byref(minor))
    return Gpu(name.value.decode(), f"{major.value}.{minor.value}", driver, cuda)
