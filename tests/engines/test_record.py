"""The record of an engine: read without trust, and compared with the GPU before the engine is loaded."""

from pathlib import Path

import pytest

from modelspec.engines import masked, record
from modelspec.engines.load import require_loadable
from modelspec.engines.record import Device, Range, Recipe, Record
from modelspec.errors import ModelspecError
from modelspec.nvidia import Gpu

H100 = Gpu("NVIDIA H100", "9.0", "595.71", "13.2")
L4 = Gpu("NVIDIA L4", "8.9", "595.71", "13.2")
H200 = Gpu("NVIDIA H200", "9.0", "595.71", "13.2")


def made(gpu: Gpu | None, *, module: str = "tensorrt", **options: object) -> Record:
    profile = {"x": Range(min=(1, 4), opt=(2, 4), max=(8, 4))}
    recipe = Recipe.model_validate({"module": module, "precision": "fp16", "model": {}, "profile": profile, **options})
    device = Device(**vars(gpu)) if gpu else None
    return Record(state="built", recipe=recipe, version="11.4.0.106", device=device, content="00")


def refused(found: Record, gpu: Gpu | None, version: str | None = "11.4.0.106") -> str:
    with pytest.raises(ModelspecError) as error:
        require_loadable(found, gpu, version)
    assert error.value.diagnostics[0].code == "MS421"
    return error.value.diagnostics[0].message


def test_an_engine_of_another_gpu_is_refused_and_both_are_named() -> None:
    message = refused(made(H100), L4)
    assert "NVIDIA H100 (compute capability 9.0)" in message
    assert "NVIDIA L4 (compute capability 8.9)" in message
    require_loadable(made(H100), H100, "11.4.0.106")


def test_without_a_gpu_it_is_refused() -> None:
    assert "no NVIDIA GPU" in refused(made(H100), None)


def test_another_model_of_the_same_capability_takes_an_engine_that_says_so() -> None:
    assert "H200" in refused(made(H100), H200)
    require_loadable(made(H100, hardware_compatible="same_compute_capability"), H200, "11.4.0.106")
    require_loadable(made(H100, hardware_compatible="ampere_plus"), L4, "11.4.0.106")


def test_another_release_is_refused_unless_the_engine_is_compatible() -> None:
    assert "11.5.0.1" in refused(made(H100), H100, "11.5.0.1")
    require_loadable(made(H100, version_compatible=True), H100, "11.5.0.1")
    refused(made(H100, version_compatible=True), H100, "12.0.0.1")


def test_an_engine_built_ahead_of_time_runs_on_the_capabilities_of_its_recipe() -> None:
    ahead = made(None, module="tensorrt_rtx", compute_capabilities=("8.6", "8.9"))
    require_loadable(ahead, L4, "11.4.0.106")
    assert "8.6, 8.9" in refused(ahead, H100)


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    record.write(made(H100), tmp_path)
    assert record.read(tmp_path) == made(H100)


@pytest.mark.parametrize("text", ["", "{}", '{"formatVersion": 2}', "[" * 9000])
def test_a_damaged_record_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / record.FILE).write_text(text)
    with pytest.raises(ModelspecError, match="MS582"):
        record.read(tmp_path)


def test_only_made_up_names_are_masked(tmp_path: Path) -> None:
    old, new, other = (tmp_path / name for name in ("old", "new", "other"))
    old.write_bytes(b"\0__mye123_shape\0weights1\0__mye7")
    new.write_bytes(b"\0__mye98765_shape\0weights1\0__mye12")
    other.write_bytes(b"\0__mye123_shape\0weights2\0__mye7")
    assert masked.content(old) == masked.content(new) != masked.content(other)


def test_the_order_of_products_of_sizes_is_masked_and_nothing_else(tmp_path: Path) -> None:
    def line(number: int, size: int) -> bytes:
        return f'  mul={{ name="__mye{number}" output={{"__mye{number}" }} input={{"__mye1_shape_x" "__s^{size}i64" }} stream=0 }}'.encode()

    files = [tmp_path / str(index) for index in range(4)]
    files[0].write_bytes(b"\n".join((b"a", line(2, 50), line(3, 60), b"z")))
    files[1].write_bytes(b"\n".join((b"a", line(7, 60), line(8, 50), b"z")))
    files[2].write_bytes(b"\n".join((b"z", line(2, 50), line(3, 60), b"a")))
    files[3].write_bytes(b"\n".join((b"a", line(2, 50), line(3, 70), b"z")))
    found = [masked.content(file) for file in files]
    assert found[0] == found[1]
    assert found[0] not in found[2:]
