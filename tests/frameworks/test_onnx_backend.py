"""The small models with reference data that the onnx distribution carries: each is built right, or refused with a code."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from modelspec.errors import ModelspecError
from modelspec.frameworks.onnx import Onnx
from modelspec.stage import Job
from modelspec.stages.compile import Compile
from modelspec.stages.convert import Convert
from modelspec.targets.cpu import Cpu

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
MODELS = sorted(
    path.parent
    for kind in ("simple", "pytorch-converted", "pytorch-operator")
    for path in (DATA / kind).glob("*/model.onnx")
)
REFUSALS = {"MS504", "MS505", "MS507", "MS513", "MS514"}


def build(source: Path, root: Path) -> Path:
    """Convert and compile in process; returns the artifact's folder."""
    folder = root / "convert" / "in" / "artifact"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes((source / "model.onnx").read_bytes())
    Convert().run(Job(root / "convert", framework=Onnx(framework="onnx", artifact="model.onnx")))
    (root / "compile").mkdir()
    (root / "convert" / "out").rename(root / "compile" / "in")
    job = Job(root / "compile", target=Cpu(device="cpu"))
    Compile().run(job)
    return job.output("artifact")


def tensors(folder: Path, side: str) -> "list[np.ndarray[Any, Any]]":
    found = []
    for path in sorted(folder.glob(f"{side}_*.pb"), key=lambda p: int(p.stem.split("_")[1])):
        tensor = onnx.TensorProto()
        tensor.ParseFromString(path.read_bytes())
        found.append(numpy_helper.to_array(tensor))
    return found


def check(source: Path, artifact: Path) -> None:
    """The artifact answers the reference inputs with the reference outputs."""
    session = Cpu(device="cpu").open_session(artifact)
    names = [value.name for value in onnx.load(source / "model.onnx").graph.input]
    taken = {value["name"] for value in signature(artifact)}
    for folder in sorted(source.glob("test_data_set_*")):
        given = tensors(folder, "input")
        of_model = names if len(given) == len(names) else [name for name in names if name in taken]
        inputs = {name: array for name, array in zip(of_model, given, strict=True) if name in taken}
        found = list(session.run(inputs).values())
        expected = tensors(folder, "output")
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            if theirs.dtype.kind == "f":
                np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
            else:
                assert ours.astype(str).tolist() == theirs.astype(str).tolist()


def signature(artifact: Path) -> list[dict[str, Any]]:
    text = (artifact.parent.parent / "in" / "signature" / "signature.json").read_text()
    return list(json.loads(text)["inputs"])


def test_there_are_models_to_try() -> None:
    assert len(MODELS) >= 100


@pytest.mark.slow
def test_every_model_is_built_right_or_refused_with_a_code(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    built, refused = 0, {}
    for index, source in enumerate(MODELS):
        try:
            artifact = build(source, tmp_path / str(index))
        except ModelspecError as error:
            refused[source.name] = error.diagnostics[0]
            continue
        check(source, artifact)
        built += 1
    capfd.readouterr()  # the runtime's own remarks on old models
    with capfd.disabled():
        print(f"\n{len(MODELS)} models of the onnx distribution: {built} built right, {len(refused)} refused")
    assert {problem.code for problem in refused.values()} <= REFUSALS
    assert all(problem.message and "\n" not in problem.message for problem in refused.values())
    assert built >= 90
