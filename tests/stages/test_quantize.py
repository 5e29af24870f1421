"""Quantization: the method fits the graph, what hurts is said, what does nothing is refused."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from modelspec import toolchain
from modelspec.errors import ModelspecError
from modelspec.formats import npz
from modelspec.formats.onnx_integers import may_saturate
from modelspec.formats.onnx_session import open_session
from modelspec.quantization import Auto, Dynamic, Static, Weights
from modelspec.stage import Job
from modelspec.stages.compile import Compile
from modelspec.stages.quantize import Quantize
from modelspec.targets.cpu import Cpu
from tests.stages import graphs

SHAPES = {
    "mlp": (40, 32),
    "rows": (40, 32),
    "planted": (40, 32),
    "biased": (40, 32),
    "conv": (40, 1, 8, 8),
    "attention": (40, 5, 16),
    "elementwise": (40, 4),
}


def run(run_stage: Any, tmp_path: Path, graph: str, method: Any, calibration: bool = False) -> Job:
    made = graphs.made_of(getattr(graphs, graph)(tmp_path), tmp_path / "made", SHAPES[graph])
    inputs = {"model": made["model"]}
    if calibration:
        x = np.random.default_rng(2).normal(size=SHAPES[graph]).astype(np.float32)
        inputs |= {"signature": made["signature"], "data": graphs.data(tmp_path / "data", x=x)}
    job: Job = run_stage(Quantize(method=method), inputs)
    return job


def cosine(job: Job, tmp_path: Path) -> float:
    inputs = npz.read(tmp_path / "made" / "samples" / "inputs.npz")
    expected = next(iter(npz.read(tmp_path / "made" / "samples" / "outputs.npz").values())).ravel()
    found = next(iter(open_session(job.output("model") / "model.onnx").run(inputs).values())).ravel()
    return float(expected @ found / np.linalg.norm(expected) / np.linalg.norm(found))


def said(job: Job) -> dict[str, Any]:
    return dict(json.loads((job.output("metrics") / "quantize.json").read_text()))


def static(**options: Any) -> Static:
    return Static(method="static", data="calibration", **options)


DYNAMIC = Dynamic(method="dynamic")


@pytest.mark.parametrize(("graph", "method", "calibration", "operation"), [
    ("mlp", DYNAMIC, False, "MatMulInteger"),
    ("mlp", Dynamic(method="dynamic", per_channel=False), False, "MatMulInteger"),
    ("mlp", static(), True, "MatMul"),
    ("rows", static(), True, "Gemm"),
    ("conv", static(), True, "Conv"),
    ("conv", static(per_channel=False), True, "Conv"),
    ("conv", static(ranges="entropy"), True, "Conv"),
    ("conv", static(ranges="percentile", percentile=99.9), True, "Conv"),
    ("conv", static(activations="int8"), True, "Conv"),
    ("attention", DYNAMIC, False, "MatMulInteger"),
])  # fmt: skip
def test_a_method_makes_integers_and_keeps_the_answers(
    run_stage: Any, tmp_path: Path, graph: str, method: Any, calibration: bool, operation: str
) -> None:
    job = run(run_stage, tmp_path, graph, method, calibration)
    assert said(job)["quantized"][operation] >= 1
    assert said(job)["reason"] == "asked for"
    assert cosine(job, tmp_path) > 0.98
    model = onnx.load(job.output("model") / "model.onnx")
    kinds = {t.data_type for t in model.graph.initializer if len(t.dims) >= 2}
    assert kinds == {onnx.TensorProto.INT8}


@pytest.mark.parametrize(("graph", "calibration", "method", "reason"), [
    ("attention", False, "dynamic", "a transformer"),
    ("conv", True, "static", "convolutions"),
    ("mlp", False, "dynamic", "matrix products"),
])  # fmt: skip
def test_auto_chooses_by_the_graph_and_says_why(
    run_stage: Any, tmp_path: Path, graph: str, calibration: bool, method: str, reason: str
) -> None:
    job = run(run_stage, tmp_path, graph, Auto(data="calibration" if calibration else None), calibration)
    assert said(job)["method"] == method
    assert said(job)["reason"].startswith(reason)
    assert not [w for w in job.warnings if w.code != "MS553"]


def refused(*arguments: Any, **options: Any) -> Any:
    with pytest.raises(ModelspecError) as caught:
        run(*arguments, **options)
    return caught.value.diagnostics


def test_auto_needs_data_for_convolutions(run_stage: Any, tmp_path: Path) -> None:
    (problem,) = refused(run_stage, tmp_path, "conv", Auto())
    assert problem.code == "MS522"
    assert "data: calibration" in problem.help


@pytest.mark.parametrize(("method", "calibration"), [(DYNAMIC, False), (Auto(), False)])
def test_a_graph_with_nothing_to_quantize_is_refused(
    run_stage: Any, tmp_path: Path, method: Any, calibration: bool
) -> None:
    (problem,) = refused(run_stage, tmp_path, "elementwise", method, calibration)
    assert problem.code == "MS510"


def test_a_tree_is_refused(run_stage: Any, tmp_path: Path) -> None:
    import skl2onnx
    from sklearn.datasets import load_wine
    from sklearn.tree import DecisionTreeClassifier

    x, y = load_wine(return_X_y=True)
    tree = DecisionTreeClassifier(max_depth=3, random_state=0).fit(x, y)
    types = [("x", skl2onnx.common.data_types.FloatTensorType([None, 13]))]
    model = skl2onnx.convert_sklearn(
        tree, initial_types=types, options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3}
    )
    (tmp_path / "model").mkdir()
    onnx.save(model, tmp_path / "model" / "model.onnx")
    with pytest.raises(ModelspecError) as caught:
        run_stage(Quantize(), {"model": tmp_path / "model"})
    assert caught.value.diagnostics[0].code == "MS510"


def test_what_hurts_is_said(run_stage: Any, tmp_path: Path) -> None:
    job = run(run_stage, tmp_path / "a", "conv", DYNAMIC)
    assert "MS551" in [w.code for w in job.warnings]
    job = run(run_stage, tmp_path / "b", "attention", static(), calibration=True)
    assert "MS552" in [w.code for w in job.warnings]
    assert set(said(job)["quantized"]) == {"MatMul"}


@pytest.mark.parametrize(("graph", "method", "calibration", "saturates"), [
    ("conv", static(), True, False), ("conv", static(reduce_range=False), True, True),
    ("conv", static(activations="int8"), True, False), ("mlp", static(), True, False),
    ("mlp", DYNAMIC, False, True), ("mlp", Dynamic(method="dynamic", reduce_range=True), False, False),
])  # fmt: skip
def test_seven_bits_where_they_cost_nothing(
    run_stage: Any, tmp_path: Path, graph: str, method: Any, calibration: bool, saturates: bool
) -> None:
    job = run(run_stage, tmp_path, graph, method, calibration)
    model = onnx.load(job.output("model") / "model.onnx")
    largest = max(
        int(np.abs(onnx.numpy_helper.to_array(t).astype(int)).max())
        for t in model.graph.initializer
        if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1
    )
    assert largest == (127 if saturates else 64)
    assert may_saturate(model) is saturates
    target = Cpu(device="cpu", precision="int8")
    inputs = {"model": job.output("model"), "samples": tmp_path / "made" / "samples"}
    compiled = run_stage(Compile(), inputs, target=target)
    runtime = json.loads((compiled.output("runtime") / "runtime.json").read_text())
    x86 = toolchain.fact("arch") == "x86_64"
    assert runtime.get("cpu") == ({"needs": ["avx512_vnni", "avx_vnni"]} if saturates and x86 else None)


def test_what_no_product_reads_cannot_saturate(run_stage: Any, tmp_path: Path) -> None:
    table, weight = graphs.weights((50, 16), (16, 8))
    nodes = [
        onnx.helper.make_node("Cast", ["x"], ["index"], to=onnx.TensorProto.INT64, name="cast"),
        onnx.helper.make_node("Gather", ["table", "index"], ["rows"], name="table"),
        onnx.helper.make_node("MatMul", ["rows", "weight"], ["y"], name="head"),
    ]
    values = {"table": table, "weight": weight}
    folder = graphs.save(tmp_path, nodes, values, {"x": ("batch",)}, {"y": ("batch", 8)})
    job = run_stage(Quantize(method=Dynamic(method="dynamic", reduce_range=True)), {"model": folder})
    assert not may_saturate(onnx.load(job.output("model") / "model.onnx"))
    job = run_stage(Quantize(precision="int8w", method=Weights()), {"model": graphs.mlp(tmp_path / "mlp")})
    assert not may_saturate(onnx.load(job.output("model") / "model.onnx"))


def test_excluded_nodes_stay_in_float(run_stage: Any, tmp_path: Path) -> None:
    job = run(run_stage, tmp_path, "mlp", Dynamic(method="dynamic", exclude=("sec*",)))
    assert said(job)["quantized"] == {"MatMulInteger": 1}
    operations = [node.op_type for node in onnx.load(job.output("model") / "model.onnx").graph.node]
    assert "MatMul" in operations


def test_a_node_that_preparation_joins_with_its_neighbour_is_excluded_by_its_own_name(
    run_stage: Any, tmp_path: Path
) -> None:
    job = run(run_stage, tmp_path, "biased", static(exclude=("first",)), calibration=True)
    float_weights = [t for t in onnx.load(job.output("model") / "model.onnx").graph.initializer if t.name == "w1"]
    assert float_weights[0].data_type == onnx.TensorProto.FLOAT


def test_unknown_nodes_are_told_all_at_once(run_stage: Any, tmp_path: Path) -> None:
    problems = refused(run_stage, tmp_path, "mlp", Dynamic(method="dynamic", exclude=("frist", "second", "nope")))
    assert [(p.code, p.path) for p in problems] == [("MS512", ("exclude", 0)), ("MS512", ("exclude", 2))]
    assert problems[0].help == "did you mean 'first'?"


def test_a_ragged_last_batch_is_no_trouble(run_stage: Any, tmp_path: Path) -> None:
    made = graphs.made_of(graphs.conv(tmp_path), tmp_path / "made", (5, 1, 8, 8))
    for index, rows in enumerate((3, 8, 21)):
        x = np.random.default_rng(2).normal(size=(rows, 1, 8, 8)).astype(np.float32)
        data = graphs.data(tmp_path / f"data-{index}", x=x)
        run_stage(Quantize(method=static(ranges="entropy")), {**made, "data": data})


@pytest.mark.parametrize(("method", "calibration"), [
    (Dynamic(method="dynamic", sensitivity=True), False),
    (Dynamic(method="dynamic", sensitivity=True, data="calibration"), True),
    (static(sensitivity=True), True),
])  # fmt: skip
def test_the_node_that_hurts_most_comes_first(run_stage: Any, tmp_path: Path, method: Any, calibration: bool) -> None:
    made = graphs.made_of(graphs.planted(tmp_path), tmp_path / "made", SHAPES["planted"])
    inputs = {"model": made["model"], "signature": made["signature"]}
    if calibration:
        x = np.random.default_rng(2).normal(size=SHAPES["planted"]).astype(np.float32)
        inputs["data"] = graphs.data(tmp_path / "data", x=x)
    jobs = [run_stage(Quantize(method=method), inputs) for _ in range(2)]
    rows = said(jobs[0])["sensitivity"]
    assert (rows[0]["node"], rows[0]["op"]) == ("middle", "MatMul")
    assert {"first", "last"} < {row["node"] for row in rows}
    errors = [row["error"] for row in rows]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.3 > 10 * errors[1] > 0
    assert rows[0]["share"] == pytest.approx(64 * 64 / (32 * 64 + 64 * 64 + 64 * 8), abs=0.01)
    assert said(jobs[1])["sensitivity"] == rows


def test_the_table_has_no_excluded_node_and_the_answers_recover(run_stage: Any, tmp_path: Path) -> None:
    job = run(run_stage, tmp_path / "a", "planted", Dynamic(method="dynamic"))
    worse = cosine(job, tmp_path / "a")
    made = graphs.made_of(graphs.planted(tmp_path / "b"), tmp_path / "b" / "made", SHAPES["planted"])
    method = Dynamic(method="dynamic", sensitivity=True, exclude=("middle",))
    job = run_stage(Quantize(method=method), {"model": made["model"], "signature": made["signature"]})
    assert [row["node"] for row in said(job)["sensitivity"]] == ["first", "last"]
    assert cosine(job, tmp_path / "b") > 0.99 > worse + 0.03


SCRIPT = """
import sys; from pathlib import Path
from modelspec.stage import Job
from modelspec.stages.quantize import Quantize
from modelspec.quantization import Static
Quantize(method=Static(method="static", data="d")).run(Job(Path(sys.argv[1])))
"""


@pytest.mark.slow
def test_the_bytes_depend_on_neither_process_seed_nor_threads(tmp_path: Path) -> None:
    made = []
    for seed in ("1", "2"):
        root = tmp_path / seed
        inputs = graphs.made_of(graphs.conv(root / "in"), root / "made", (9, 1, 8, 8))
        (root / "made" / "signature").rename(root / "in" / "signature")
        x = np.random.default_rng(2).normal(size=(32, 1, 8, 8)).astype(np.float32)
        graphs.data(root / "in" / "data", x=x)
        environment = {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": seed, "PATH": ""}
        subprocess.run([sys.executable, "-c", SCRIPT, str(root)], check=True, env=environment, capture_output=True)
        made.append((root / "out" / "model" / "model.onnx").read_bytes())
        assert inputs
    assert made[0] == made[1]
