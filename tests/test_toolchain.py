"""Versions by metadata, facts of the machine; no tool is imported for either."""

import subprocess
import sys
from importlib.metadata import version

import pytest

from modelspec import toolchain


@pytest.mark.parametrize("name", ["numpy", "onnx", "pydantic", "PyYAML", "scikit_learn", "modelspec-build"])
def test_versions_are_those_of_the_metadata(name: str) -> None:
    assert toolchain.version(name) == version(name)


def test_what_is_not_installed_has_no_version() -> None:
    assert toolchain.missing(["numpy", "no-such-thing", "another-one"]) == ["another-one", "no-such-thing"]


def test_facts_are_stable_and_name_no_host() -> None:
    import platform

    facts = toolchain.facts(["arch", "isa", "cpu", "cores", "machine"])
    assert facts == toolchain.facts(["arch", "isa", "cpu", "cores", "machine"])
    assert all(facts.values())
    assert platform.node() not in facts["machine"]


def test_nothing_heavy_is_imported() -> None:
    script = (
        "import sys; from modelspec import toolchain; toolchain.version('torch'); toolchain.facts(['isa']); "
        "print(sorted({'torch', 'numpy', 'onnx', 'importlib.metadata'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize(("isa", "lacking"), [
    ("sse4_2+avx+fma+avx2", True), ("avx2+avx512f+avx512bw", True), ("avx2+avx512f+avx512_vnni", False),
    ("avx2+avx_vnni", False), ("sse4_2", False), ("asimd+asimddp", False), ("baseline", False),
])  # fmt: skip
def test_where_sums_of_bytes_saturate(isa: str, lacking: bool) -> None:
    assert toolchain.lacks(isa, toolchain.VNNI) is lacking


def test_the_libraries_that_compress_tell_their_versions() -> None:
    for name in ("zlib", "liblzma"):
        assert toolchain.fact(name)[0].isdigit()
