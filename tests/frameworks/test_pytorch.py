"""PyTorch sources: loaded strictly, exported with dynamic axes, equal to the module at other sizes than the trace's."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from modelspec.errors import ModelspecError
from modelspec.formats.onnx_session import open_session
from modelspec.frameworks.pytorch import Pytorch
from modelspec.signature import Signature, TensorSpec
from modelspec.stage import Job
from modelspec.stages.convert import Convert

CODE = """
from dataclasses import dataclass

import torch
from torch import nn

class Cnn(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
                                  nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))
    def forward(self, image):
        return self.body(image)

class Gru(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(6, 8, batch_first=True), nn.Linear(11, 2)
    def forward(self, sequence, static):
        _, hidden = self.gru(sequence)
        return self.head(torch.cat([hidden[-1], static], dim=1))

class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 7), nn.ReLU(), nn.AvgPool2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    def forward(self, image):
        return self.body(image)

@dataclass
class Pair:
    first: torch.Tensor
    second: torch.Tensor

class Paired(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
    def forward(self, x):
        return Pair(self.fc(x), x * 2)

class Odd(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.table = how, nn.Embedding(5, 3)
    def forward(self, x):
        if self.how == "random":
            return nn.functional.dropout(x, 0.5)
        if self.how == "index":
            return self.table(x)
        assert x.shape[1] == 3, "three columns, please"
        return x

class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
    def forward(self, x):
        hidden = self.fc(x)
        return {"embedding": hidden * 2, "norm": hidden.norm(dim=1)}

def cnn(width=8): return Cnn(width)
def gru(): return Gru()
def named(): return Named()
def pooled(): return Pooled()
def paired(): return Paired()
def odd(how): return Odd(how)
def not_a_module(): return 3
def broken(): raise KeyError("no such layer")
"""


LINE = CODE[: CODE.index("def broken")].count("\n") + 1


def tensor(*shape: int | str, dtype: Any = "float32", span: tuple[float, float] | None = None) -> TensorSpec:
    return TensorSpec(dtype=dtype, shape=shape, range=span)


IMAGE = Signature(inputs={"image": tensor("batch", 1, 8, 8)}, outputs={"logits": tensor("batch", 3)})
TWO = Signature(inputs={"sequence": tensor("batch", "time", 6), "static": tensor("batch", 3)})

Source = Callable[..., tuple[Pytorch, dict[str, Path]]]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """The framework and its input folders."""

    def make(entrypoint: str, weights: Path | None = None, **params: Any) -> tuple[Pytorch, dict[str, Path]]:
        (tmp_path / "code").mkdir(exist_ok=True)
        (tmp_path / "code" / "model.py").write_text(CODE)
        inputs = {"code": tmp_path / "code"}
        if weights is not None:
            inputs["weights"] = weights.parent
        name = None if weights is None else weights.name
        return Pytorch(framework="pytorch", entrypoint=f"model.py:{entrypoint}", weights=name, params=params), inputs

    return make


@pytest.fixture(autouse=True)
def forget_user_code() -> Any:
    yield
    sys.modules.pop("model", None)


def refused(run_stage: Any, framework: Pytorch, inputs: dict[str, Path], signature: Signature, **options: Any) -> Any:
    with pytest.raises(ModelspecError) as caught:
        run_stage(Convert(**options), inputs, framework=framework, signature=signature)
    return caught.value.diagnostics[0]


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@pytest.mark.parametrize(("entrypoint", "signature", "shapes"), [
    ("cnn", IMAGE, [{"image": (1, 1, 8, 8)}, {"image": (9, 1, 8, 8)}]),
    ("gru", TWO, [{"sequence": (1, 3, 6), "static": (1, 3)}, {"sequence": (6, 11, 6), "static": (6, 3)}]),
])  # fmt: skip
def test_the_model_equals_the_module_at_any_size(
    source: Source,
    run_stage: Any,
    entrypoint: str,
    signature: Signature,
    shapes: list[dict[str, tuple[int, ...]]],
    exporter: str,
) -> None:
    framework, inputs = source(entrypoint)
    job: Job = run_stage(Convert(exporter=exporter), inputs, framework=framework, signature=signature)
    module = framework.load(job.files)
    session = open_session(job.output("model") / "model.onnx")
    random = np.random.default_rng(0)
    for sizes in shapes:
        arrays = {name: random.normal(size=shape).astype(np.float32) for name, shape in sizes.items()}
        expected = framework.run(module, signature, arrays)
        found = session.run(arrays)
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5)


def test_axes_and_outputs_keep_the_names_of_the_signature(source: Source, run_stage: Any) -> None:
    framework, inputs = source("cnn")
    job = run_stage(Convert(), inputs, framework=framework, signature=IMAGE)
    model = onnx.load(job.output("model") / "model.onnx")
    assert [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == ["batch", 1, 8, 8]
    assert [value.name for value in model.graph.output] == ["logits"]


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_several_outputs_and_names_that_clash_inside(source: Source, run_stage: Any, exporter: str) -> None:
    outputs = {"linear": tensor("batch", 4), "norm": tensor("batch")}
    signature = Signature(inputs={"x": tensor("batch", 4)}, outputs=outputs)
    framework, inputs = source("named")
    job = run_stage(Convert(exporter=exporter), inputs, framework=framework, signature=signature)
    assert open_session(job.output("model") / "model.onnx").outputs == ("linear", "norm")


def test_params_reach_the_entrypoint_and_weights_are_strict(source: Source, run_stage: Any, tmp_path: Path) -> None:
    namespace: dict[str, Any] = {}
    exec(CODE, namespace)
    folder = tmp_path / "weights"
    folder.mkdir()
    state = namespace["cnn"](width=4).state_dict()
    save_file(state, folder / "w.safetensors")
    framework, inputs = source("cnn", folder / "w.safetensors", width=4)
    run_stage(Convert(exporter="torchscript"), inputs, framework=framework, signature=IMAGE)
    framework, inputs = source("cnn", folder / "w.safetensors", width=8)
    problem = refused(run_stage, framework, inputs, IMAGE)
    assert problem.code == "MS504"
    assert "is [4] in the weights and [8] in the module" in problem.message
    del state["body.5.bias"]
    save_file(state, folder / "w.safetensors")
    framework, inputs = source("cnn", folder / "w.safetensors", width=4)
    assert refused(run_stage, framework, inputs, IMAGE).message == "the weights lack 'body.5.bias'"
    framework, inputs = source("cnn", folder / "w.safetensors", depth=4)
    assert "got an unexpected keyword argument 'depth'" in refused(run_stage, framework, inputs, IMAGE).message


class Canary:
    """Pickles to a command that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_a_state_dict_loads_and_one_with_code_is_refused_unread(source: Source, run_stage: Any, tmp_path: Path) -> None:
    namespace: dict[str, Any] = {}
    exec(CODE, namespace)
    folder = tmp_path / "weights"
    folder.mkdir()
    torch.save(namespace["cnn"]().state_dict(), folder / "w.pt")
    framework, inputs = source("cnn", folder / "w.pt")
    run_stage(Convert(exporter="torchscript"), inputs, framework=framework, signature=IMAGE)
    torch.save({"x": Canary(tmp_path / "canary")}, folder / "w.pt")
    problem = refused(run_stage, framework, inputs, IMAGE)
    assert problem.code == "MS612"
    assert not (tmp_path / "canary").exists()
    (folder / "w.pt").write_bytes(b"nothing of the kind")
    assert refused(run_stage, framework, inputs, IMAGE).code in {"MS504", "MS612"}


@pytest.mark.parametrize(("entrypoint", "code", "words"), [
    ("absent", "MS324", "model.py has no callable 'absent'"),
    ("not_a_module", "MS504", "returned int, not a torch.nn.Module"),
    ("broken", "MS517", f"model.py:{LINE}: KeyError: 'no such layer'"),
])  # fmt: skip
def test_a_wrong_entrypoint_is_told_with_its_place(
    source: Source, run_stage: Any, entrypoint: str, code: str, words: str
) -> None:
    problem = refused(run_stage, *source(entrypoint), IMAGE)
    assert problem.code == code
    assert words in problem.message


def test_a_signature_that_the_module_refuses(source: Source, run_stage: Any) -> None:
    problem = refused(run_stage, *source("cnn"), Signature(inputs={"image": tensor("batch", 2, 8, 8)}))
    assert problem.code == "MS507"
    assert "the module refuses inputs of float32 [4, 2, 8, 8]" in problem.message
    problem = refused(
        run_stage, *source("cnn"), Signature(inputs=IMAGE.inputs, outputs={"a": tensor(1), "b": tensor(1)})
    )
    assert "the module returns 1 tensor, and the signature names a, b" in problem.message


def test_an_opset_out_of_reach_is_refused(source: Source, run_stage: Any) -> None:
    problem = refused(run_stage, *source("cnn"), IMAGE, exporter="torchscript", opset=26)
    assert problem.code in {"MS505", "MS506"}


SCRIPT = """
import sys; from pathlib import Path
from modelspec.frameworks.pytorch import Pytorch
from modelspec.signature import Signature, TensorSpec
from modelspec.stage import Job
from modelspec.stages.convert import Convert
root = Path(sys.argv[1]).resolve()
sys.path.insert(0, str(root / "in" / "code"))
signature = Signature(inputs={"image": TensorSpec(dtype="float32", shape=("batch", 1, 8, 8))})
Convert().run(Job(root, signature=signature, framework=Pytorch(framework="pytorch", entrypoint="model.py:cnn")))
"""


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_process_or_the_folder(tmp_path: Path) -> None:
    made = []
    for seed, name in (("1", "here"), ("2", "a folder elsewhere")):
        root = tmp_path / name
        (root / "in" / "code").mkdir(parents=True)
        (root / "in" / "code" / "model.py").write_text(CODE)
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(root)],
            check=True,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
        )
        made.append((root / "out" / "model" / "model.onnx").read_bytes())
    assert made[0] == made[1]
    assert str(tmp_path).encode() not in made[0]
    assert b"site-packages" not in made[0]


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_dynamic_axes_that_must_not_be_small(source: Source, run_stage: Any, exporter: str) -> None:
    """A kernel of 7 and a pool of 4 refuse the sizes that are tried first."""
    signature = Signature(inputs={"image": tensor("batch", 1, "height", "width")})
    job = run_stage(Convert(exporter=exporter), source("pooled")[1], framework=source("pooled")[0], signature=signature)
    image = np.zeros((2, 1, 33, 47), np.float32)
    assert open_session(job.output("model") / "model.onnx").run({"image": image})["output"].shape == (2, 4)


X = {"x": tensor("batch", 4)}


@pytest.mark.parametrize(("entrypoint", "said", "names"), [
    ("named", {}, ["embedding", "norm"]),
    ("named", {"norm": tensor("batch"), "embedding": tensor("batch", 4)}, ["embedding", "norm"]),
    ("named", {"vector": tensor("batch", 4), "length": tensor("batch")}, ["vector", "length"]),
    ("paired", {}, ["first", "second"]),
    ("paired", {"second": tensor("batch", 4), "first": tensor("batch", 4)}, ["first", "second"]),
])  # fmt: skip
def test_outputs_keep_the_names_that_the_module_gives_them(
    source: Source, run_stage: Any, entrypoint: str, said: dict[str, TensorSpec], names: list[str]
) -> None:
    framework, inputs = source(entrypoint)
    job = run_stage(Convert(), inputs, framework=framework, signature=Signature(inputs=X, outputs=said))
    listed = json.loads((job.output("signature") / "signature.json").read_text())["outputs"]
    assert [output["name"] for output in listed] == names
    assert [output["shape"][0] for output in listed] == ["batch", "batch"]


@pytest.mark.parametrize(("said", "words"), [
    ({"norm": tensor("batch"), "vector": tensor("batch", 4)}, "returns 2 tensors: embedding, norm, and the signature"),
    ({"vector": tensor("batch", 4)}, "the signature names vector"),
    ({"embedding": tensor("batch", 7), "norm": tensor("batch")}, "'embedding' is float32 [4, 4] for the inputs tried"),
    ({"embedding": tensor("batch"), "norm": tensor("batch")}, "and the signature says float32 [batch]"),
    ({"embedding": tensor("batch", 4, dtype="int64"), "norm": tensor("batch")}, "says int64 [batch, 4]"),
])  # fmt: skip
def test_outputs_that_are_not_what_the_signature_says(
    source: Source, run_stage: Any, said: dict[str, TensorSpec], words: str
) -> None:
    problem = refused(run_stage, *source("named"), Signature(inputs=X, outputs=said))
    assert problem.code == "MS507"
    assert words in problem.message


@pytest.mark.parametrize(("how", "given", "code", "words"), [
    ("random", tensor("batch", 3), "MS503", "the source itself gives another answer"),
    ("assert", tensor("batch", 4), "MS507", "three columns, please"),
    ("index", tensor("batch", dtype="int64", span=(0, 9)), "MS507", "index out of range"),
])  # fmt: skip
def test_what_is_odd_in_a_module_is_told(
    source: Source, run_stage: Any, how: str, given: TensorSpec, code: str, words: str
) -> None:
    problem = refused(run_stage, *source("odd", how=how), Signature(inputs={"x": given}), exporter="torchscript")
    assert problem.code == code
    assert words in problem.message


def test_indices_without_a_range_find_some_that_serve(source: Source, run_stage: Any) -> None:
    framework, inputs = source("odd", how="index")
    signature = Signature(inputs={"x": tensor("batch", dtype="int64")})
    run_stage(Convert(exporter="torchscript"), inputs, framework=framework, signature=signature)
