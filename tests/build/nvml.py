"""A stand-in for NVIDIA's management library: the facts of a GPU are read through the same calls, where there is none."""

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = """
#include <string.h>
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13020; return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { strncpy(text, DRIVER, size); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) { *handle = 0; return 0; }
int nvmlDeviceGetName(void *handle, char *text, unsigned size) { strncpy(text, NAME, size); return 0; }
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) { *major = MAJOR; *minor = MINOR; return 0; }
"""


def library(folder: Path, name: str = "NVIDIA H100", capability: str = "9.0", driver: str = "595.71") -> dict[str, str]:
    """The environment in which a command sees such a GPU."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder.mkdir(parents=True)
    (folder / "nvml.c").write_text(SOURCE)
    major, minor = capability.split(".")
    values = {"NAME": f'"{name}"', "DRIVER": f'"{driver}"', "MAJOR": major, "MINOR": minor}
    defines = [f"-D{key}={value}" for key, value in values.items()]
    subprocess.run(
        [compiler, "-shared", "-fPIC", *defines, "-o", folder / "libnvidia-ml.so.1", folder / "nvml.c"], check=True
    )
    return {"LD_LIBRARY_PATH": str(folder)}
