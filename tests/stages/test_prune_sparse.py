"""Zeros among weights: exactly as many as asked for, of modules and of ONNX files."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from modelspec.errors import ModelspecError
from modelspec.formats.onnx_session import open_session
from modelspec.frameworks.onnx import Onnx
from modelspec.signature import Signature
from modelspec.stage import Job
from modelspec.stages._prune_options import Magnitude, TwoFour
from modelspec.stages.prune import Prune
from tests.stages import graphs, modules

TWO_FOUR = TwoFour(method="2:4")
ONNX = Onnx(framework="onnx", artifact="model.onnx")


def magnitude(**options: Any) -> Magnitude:
    return Magnitude(method="magnitude", **options)


def prune(run_stage: Any, tmp_path: Path, net: str, method: Any) -> Job:
    return modules.work(run_stage, tmp_path, Prune(method=method), net)


def weights(job: Job) -> dict[str, np.ndarray[Any, Any]]:
    """The matrices and kernels of the revived module."""
    own = modules.revived(job).named_parameters()
    return {name: p.detach().numpy() for name, p in own if p.ndim > 1 and name != "position"}


def share(arrays: Any) -> float:
    flat = np.concatenate([array.ravel() for array in arrays])
    return float((flat == 0).mean())


@pytest.mark.parametrize("net", ["Plain", "Resnet", "Transformer", "Torchs", "Tied"])
def test_the_share_is_exact_over_all_layers(run_stage: Any, tmp_path: Path, net: str) -> None:
    found = weights(prune(run_stage, tmp_path, net, magnitude(sparsity=0.8)))
    total = sum(array.size for array in found.values())
    assert sum(int((array == 0).sum()) for array in found.values()) == round(0.8 * total)
    assert len({round(share([array]), 3) for array in found.values()}) > 1


def test_the_share_is_exact_in_each_layer(run_stage: Any, tmp_path: Path) -> None:
    found = weights(prune(run_stage, tmp_path, "Plain", magnitude(sparsity=0.75, scope="layer")))
    assert [share([array]) for array in found.values()] == [0.75, 0.75, 0.75]


def test_the_smallest_go(run_stage: Any, tmp_path: Path) -> None:
    job = prune(run_stage, tmp_path, "Plain", magnitude(sparsity=0.5))
    assert job.framework is not None
    before = {name: p.detach().numpy() for name, p in job.framework.load(job.files).named_parameters()}
    after = weights(job)
    gone = max(np.abs(before[name][after[name] == 0]).max() for name in after)
    assert gone <= min(np.abs(before[name][after[name] != 0]).min() for name in after)


def test_layers_of_their_own_and_excluded_ones(run_stage: Any, tmp_path: Path) -> None:
    method = magnitude(sparsity=0.5, layers={"second": 0.9}, exclude=("head",))
    job = prune(run_stage, tmp_path, "Plain", method)
    found = weights(job)
    assert share([found["first.weight"]]) == 0.5
    assert share([found["second.weight"]]) == pytest.approx(0.9, abs=1e-3)
    assert share([found["head.weight"]]) == 0
    assert modules.report(job)["layers"]["head"]["kept"] == "excluded"


def test_weights_of_sixteen_bits(run_stage: Any, tmp_path: Path) -> None:
    code = modules.code(tmp_path) / "nets.py"
    code.write_text(
        code.read_text()
        + "\n\nclass Short(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        + "        self.head = nn.Linear(64, 10).bfloat16()\n\n    def forward(self, image):\n"
        + "        return self.head(image.flatten(1).bfloat16()).float()\n"
    )
    module = modules.revived(prune(run_stage, tmp_path, "Short", magnitude(sparsity=0.5)))
    weight = module.state_dict()["head.weight"]
    assert (str(weight.dtype), int((weight == 0).sum())) == ("torch.bfloat16", 320)


def test_two_of_any_four(run_stage: Any, tmp_path: Path) -> None:
    job = prune(run_stage, tmp_path, "Resnet", TWO_FOUR)
    found = weights(job)
    for name in ("a.conv1.weight", "b.conv2.weight", "pointwise.weight", "head.weight"):
        fours = np.moveaxis(found[name], 1, -1).reshape(-1, 4)
        assert ((fours == 0).sum(axis=1) == 2).all()
    assert share([found["stem.weight"], found["depthwise.weight"]]) == 0
    assert modules.report(job)["layers"]["stem"]["kept"] == "its inputs are no multiple of four"


def test_only_what_is_multiplied_counts_as_an_operation(run_stage: Any, tmp_path: Path) -> None:
    said = modules.report(prune(run_stage, tmp_path, "Plain", TWO_FOUR))
    assert said["layers"]["head"]["flops"] == [640, 320]
    assert said["layers"]["head"]["parameters"] == [330, 170]
    assert said["layers"]["head"]["shape"] == [[10, 32], [10, 32]]


def graph(folder: Path) -> Path:
    """A convolution with batch normalization, whose scale decides what counts, and a product."""
    kernel, matrix = graphs.weights((8, 1, 3, 3), (8, 10))
    scale = np.linspace(0.01, 4, 8).astype(np.float32)
    parts = {"k": kernel, "w": matrix, "scale": scale, "shift": scale - 1, "mean": scale / 2, "var": scale + 1}
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"], name="norm"),
        helper.make_node("Relu", ["n"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "w"], ["y"], name="head"),
    ]
    return graphs.save(folder, nodes, parts, {"x": ("batch", 1, 8, 8)}, {"y": ("batch", 10)})


def pruned(run_stage: Any, artifact: Path, method: Any) -> tuple[Job, onnx.ModelProto]:
    job = run_stage(Prune(method=method), {"artifact": artifact}, framework=ONNX, signature=Signature())
    return job, onnx.load(job.output("changes") / "model.onnx")


def test_a_graph_is_folded_before_its_weights_are_compared(run_stage: Any, tmp_path: Path) -> None:
    job, model = pruned(run_stage, graph(tmp_path), magnitude(layers={"conv": 0.5}))
    assert "BatchNormalization" not in [node.op_type for node in model.graph.node]
    kernel = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "k")
    assert share([kernel]) == 0.5
    by_channel = (kernel != 0).reshape(8, -1).sum(axis=1)
    assert by_channel[0] == 0, "its scale is almost nothing"
    assert by_channel[-1] > 6
    assert modules.report(job)["layers"]["conv"]["flops"] == [2 * 64 * 8 * 9, 64 * 8 * 9]


def test_folding_changes_no_answer(run_stage: Any, tmp_path: Path) -> None:
    from modelspec.stages._prune_graph import fold

    source = graph(tmp_path)
    model = onnx.load(source / "model.onnx")
    fold(model)
    onnx.checker.check_model(model)
    assert {t.name for t in model.graph.initializer} == {"k", "w", "n_bias"}
    onnx.save(model, tmp_path / "folded.onnx")
    x = {"x": np.random.default_rng(0).normal(size=(5, 1, 8, 8)).astype(np.float32)}
    expected = open_session(source / "model.onnx").run(x)["y"]
    np.testing.assert_allclose(open_session(tmp_path / "folded.onnx").run(x)["y"], expected, rtol=1e-4, atol=1e-5)
    assert run_stage


def test_the_share_of_a_graph_is_exact(run_stage: Any, tmp_path: Path) -> None:
    job, model = pruned(run_stage, graph(tmp_path), magnitude(sparsity=0.8))
    found = [numpy_helper.to_array(t) for t in model.graph.initializer if t.name in {"k", "w"}]
    assert sum(int((array == 0).sum()) for array in found) == round(0.8 * (72 + 80))
    assert modules.report(job)["parameters"] == [72 + 80 + 8, 72 + 80 + 8 - round(0.8 * 152)]


def test_two_of_any_four_in_a_graph(run_stage: Any, tmp_path: Path) -> None:
    job, model = pruned(run_stage, graph(tmp_path), TWO_FOUR)
    matrix = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "w")
    assert ((matrix.T.reshape(-1, 4) == 0).sum(axis=1) == 2).all()
    assert modules.report(job)["layers"]["conv"]["kept"] == "its inputs are no multiple of four"


def test_a_graph_without_weights_is_refused(run_stage: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelspecError, match="MS530 no layer was pruned: none has weights that can be"):
        pruned(run_stage, graphs.elementwise(tmp_path), magnitude(sparsity=0.5))


def test_a_node_that_is_not_there(run_stage: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelspecError, match="MS531") as caught:
        pruned(run_stage, graph(tmp_path), magnitude(sparsity=0.5, exclude=("haed",)))
    assert caught.value.diagnostics[0].help == "did you mean 'head'?"


def test_so_small_a_share_that_no_weight_goes(run_stage: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelspecError, match="MS530"):
        pruned(run_stage, graph(tmp_path), magnitude(sparsity=0.001))
