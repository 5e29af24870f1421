"""Engines of TensorRT for RTX, really built; and that what is called of TensorRT is there."""

import ast
import importlib.util
from pathlib import Path

import pytest

from modelspec.engines import build, builder, record, timing
from modelspec.engines.record import Range, Recipe
from modelspec.errors import ModelspecError
from tests.stages import graphs

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")


def recipe(**options: object) -> Recipe:
    profile = {"x": Range(min=(1, 32), opt=(4, 32), max=(8, 32))}
    return Recipe.model_validate(
        {"module": "tensorrt_rtx", "precision": "fp32", "model": {}, "profile": profile, **options}
    )


def test_an_engine_is_built_without_a_gpu(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    found = build.build(recipe(), graphs.mlp(tmp_path) / "model.onnx", tmp_path / "out")
    assert (tmp_path / "out" / record.PLAN).stat().st_size > 1000
    assert record.read(tmp_path / "out") == found
    assert (found.state, found.device, found.inspected, found.tactics) == ("built", None, False, None)


def test_each_gpu_has_another_engine(tmp_path: Path) -> None:
    model = graphs.mlp(tmp_path) / "model.onnx"
    contents = set()
    for capability in ("8.6", "8.9"):
        (out := tmp_path / capability).mkdir()
        contents.add(build.build(recipe(compute_capabilities=(capability,)), model, out).content)
    assert len(contents) == 2


def test_what_the_parser_refuses_is_told(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    node = helper.make_node("TfIdfVectorizer", ["x"], ["y"], name="words", max_gram_length=1, max_skip_count=0,
                            min_gram_length=1, mode="TF", ngram_counts=[0], ngram_indexes=[0], pool_int64s=[1])  # fmt: skip
    model = graphs.save(tmp_path, [node], {}, {"x": (4, 32)}, {"y": (4, 1)}, dtype=TensorProto.INT64)
    (tmp_path / "out").mkdir()
    fixed = recipe(profile={"x": Range(min=(4, 32), opt=(4, 32), max=(4, 32))})
    with pytest.raises(ModelspecError, match="MS581") as error:
        build.build(fixed, model / "model.onnx", tmp_path / "out")
    assert "words" in str(error.value)
    assert not list((tmp_path / "out").iterdir())


def test_shapes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ModelspecError, match="MS390"):
        build.build(recipe(profile={}), graphs.mlp(tmp_path) / "model.onnx", tmp_path / "out")


def called() -> set[str]:
    """Every attribute that is taken of the module, or of an object that it made, in the code that calls it."""
    ours = {"module", "profile", "workspace", "level", "version_compatible", "hardware_compatible", "plan", "version",
            "items", "min", "opt", "max", "upper", "replace", "compute_capabilities", "get", "tactics", "layers", "timing", "join", "loads", "dumps", "precision"}  # fmt: skip
    trees = [ast.parse(Path(str(module.__file__)).read_text()) for module in (builder, timing)]
    found = {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return {name for name in found - ours if not name.startswith("__")}


def test_both_modules_have_what_is_called() -> None:
    """The library of TensorRT cannot be loaded without its own libraries, but its names stand in the file."""
    spec = importlib.util.find_spec("tensorrt_bindings")
    if spec is None:
        pytest.skip("tensorrt-cu13-bindings is not installed")
    import tensorrt_rtx

    folder = Path(str(spec.origin)).parent
    text = next(folder.glob("tensorrt*.so")).read_bytes()
    here = set(vars(tensorrt_rtx)) | {
        name for kind in vars(tensorrt_rtx).values() for name in (*dir(kind), getattr(kind, "__name__", ""))
    }
    names = called()
    assert {"OnnxParser", "EDITABLE_TIMING_CACHE", "queryKeys", "max_threads"} <= names
    assert sorted(names - here) == [], "TensorRT for RTX lacks a name"
    # The compiler keeps a name this short in the code, not among the strings; the others only the other module has.
    short = {"tacticHash", "ComputeCapability", "num_compute_capabilities", "set_compute_capability"}
    assert sorted(name for name in names - short if name.encode() not in text) == [], "TensorRT lacks a name"


def test_a_changed_tactic_is_found() -> None:
    recorded = {"a": "1", "b": "2"}
    assert timing.changed(recorded, dict(recorded)) == []
    assert timing.changed(recorded, {"a": "1", "b": "3", "c": "4"}) == ["b", "c"]


def test_an_engine_without_the_precision_is_refused() -> None:
    layers = [{"Name": "conv", "Outputs": [{"Name": "y", "Format/Datatype": "Row major linear FP32"}]}]
    builder.require_types(layers, "fp32")
    with pytest.raises(builder.RefusedError, match="no layer of the engine computes in fp16"):
        builder.require_types(layers, "fp16")
    layers[0]["Outputs"] = [{"Name": "y", "Format/Datatype": "Half"}]
    builder.require_types(layers, "fp16")
