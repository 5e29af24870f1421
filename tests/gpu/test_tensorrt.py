"""TensorRT on a GPU: an engine with its record, tactics that are recorded and taken again, types that were looked at."""

from pathlib import Path

from modelspec.engines import build, load, record
from modelspec.engines.process import TIMING
from modelspec.engines.record import Range, Recipe
from modelspec.nvidia import Gpu
from tests.stages import graphs


def recipe(replay: str = "") -> Recipe:
    profile = {"x": Range(min=(1, 32), opt=(4, 32), max=(8, 32))}
    return Recipe(module="tensorrt", precision="fp32", model={}, profile=profile, replay=replay)


def test_an_engine_tells_its_gpu_and_its_tactics(tensorrt: Gpu, tmp_path: Path) -> None:
    (out := tmp_path / "out").mkdir()
    found = build.build(recipe(), graphs.mlp(tmp_path) / "model.onnx", out)
    assert found.device is not None
    assert found.device.compute_capability == tensorrt.compute_capability
    assert found.inspected
    assert found.tactics
    load.require_loadable(record.read(out), tensorrt, found.version)


def test_the_same_tactics_are_taken_again(tensorrt: Gpu, tmp_path: Path) -> None:
    model = graphs.mlp(tmp_path) / "model.onnx"
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first = build.build(recipe(), model, tmp_path / "first")
    second = build.build(recipe("00"), model, tmp_path / "second", tmp_path / "first" / TIMING)
    assert second.tactics == first.tactics
