"""Figures and logs: they tell what happened, and nothing that could be replayed."""

import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from prometheus_client.parser import text_string_to_metric_families

from tests.runtime.conftest import Running, Start, publish, request

INFER = "/v2/models/line/infer"


def figures(server: Running) -> dict[str, float]:
    """By name and labels: `modelspec_requests_total{code=200,route=infer}`."""
    found = {}
    for family in text_string_to_metric_families(server.ask("GET", "/metrics")[1].decode()):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_figures(folder: Path, start: Start) -> None:
    (folder / "metrics.json").write_text('{"stages": {"evaluate": {"task": "classification"}}}')
    server = start(folder, "--batch-size=8", "--batch-delay=0")
    server.ask("POST", INFER, request([[1, 2, 3], [3, 2, 1], [3, 2, 1]]))
    server.ask("POST", INFER, request([[1, 2, 11]]))
    server.ask("POST", INFER, request([[1, 2]]))
    server.ask("GET", "/a/path/of/a/stranger")
    found = figures(server)
    for name, value in {
        "modelspec_requests_total{code=200,route=infer}": 1,
        "modelspec_requests_total{code=400,route=infer}": 2,
        "modelspec_requests_total{code=404,route=none}": 1,
        "modelspec_infer_seconds_count{}": 3,
        "modelspec_run_seconds_count{}": 1,
        "modelspec_batch_rows_sum{}": 3,
        "modelspec_batch_requests_sum{}": 1,
        "modelspec_inputs_out_of_range_total{input=x}": 1,
        "modelspec_predicted_total{class=0}": 2,
        "modelspec_predicted_total{class=2}": 1,
        "modelspec_queue{}": 0,
        "modelspec_in_flight{}": 1,
        "modelspec_ready{}": 1,
        "modelspec_model_failures_total{}": 0,
    }.items():
        assert found[name] == value, name
    assert "stranger" not in "".join(found)


def test_log(folder: Path, start: Start) -> None:
    server = start(folder)
    headers = {"X-Request-ID": "abc-1", "Authorization": "Bearer hidden-key", "Cookie": "hidden-cookie"}
    body = {"id": "hidden-id", **request([[1.25, 2, 3]])}
    assert server.ask("POST", f"{INFER}?token=hidden-query", body, headers)[2]["x-request-id"] == "abc-1"
    made = server.ask("GET", "/hidden-path", None, {"X-Request-ID": 'bad"id'})[2]["x-request-id"]
    assert len(made) == 32
    server.ask("GET", "/v2/health/ready")
    server.stop()
    first, second = [line for line in server.log if line["event"] == "request"]
    assert first["request"] == "abc-1"
    assert (first["route"], first["status"], first["model"], first["client"]) == ("infer", 200, "line", "127.0.0.1")
    assert first["received"] > 50
    assert 0 < first["seconds"] < 5
    assert (second["request"], second["route"], second["status"]) == (made, "none", 404)
    assert "hidden" not in str(server.log)
    assert "1.25" not in str(server.log)


def test_audit_file(folder: Path, tmp_path: Path, start: Start) -> None:
    place = tmp_path / "audit.jsonl"
    server = start(folder, f"--audit={place}")
    server.ask("POST", INFER, request([[1, 2, 3]]))
    server.stop()
    assert place.read_text().count('"route":"infer"') == 1
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert not [line for line in server.log if line["event"] == "request"]
    assert start(folder, "--audit=/nowhere/x", ready=False).process.wait(20) == 4


def test_a_full_disk_does_not_end_the_service(folder: Path, start: Start) -> None:
    server = start(folder, "--audit=/dev/full")
    for _ in range(3):
        assert server.ask("POST", INFER, request([[1, 2, 3]]))[0] == 200
    assert figures(server)["modelspec_audit_lines_lost{}"] >= 3


def heavy(folder: Path) -> None:
    """A model that takes a tenth of a second or so for each request, and NaN for an answer where x is negative."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Expand", ["x", "size"], ["a"]),
        *(helper.make_node("MatMul", [left, left], [right]) for left, right in ("ab", "bc", "cd")),
        helper.make_node("ReduceMean", ["d"], ["m"], keepdims=1),
        helper.make_node("Sqrt", ["x"], ["root"]),
        helper.make_node("Mul", ["m", "zero"], ["n"]),
        helper.make_node("Add", ["n", "root"], ["y"]),
    ]
    constants = [
        helper.make_tensor("size", TensorProto.INT64, [2], [900, 900]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
    ]
    graph = helper.make_graph(
        nodes, "heavy", [value("x", TensorProto.FLOAT, [1, 1])], [value("y", TensorProto.FLOAT, [1, 1])], constants
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )
    one = np.ones((1, 1), np.float32)
    tensor = {"dtype": "float32", "shape": [1, 1]}
    publish(
        folder, {"inputs": [{"name": "x", **tensor}], "outputs": [{"name": "y", **tensor}]}, ({"x": one}, {"y": one})
    )


def test_overload_is_refused_and_drained(folder: Path, start: Start) -> None:
    """A full queue gives 503 with Retry-After; SIGTERM answers all that waited."""
    heavy(folder)
    server = start(folder, "--queue=2", "--parallel=1")
    body = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [4]}]}
    nan = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [-1]}]}
    status, found, _ = server.ask("POST", INFER, nan)
    assert (status, "JSON cannot carry" in found["error"]) == (500, True)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(server.ask, "POST", INFER, body) for _ in range(8)]
        end = time.monotonic() + 10
        while figures(server)["modelspec_queue{}"] < 2:
            assert time.monotonic() < end
        assert server.ask("GET", "/v2/health/live")[0] == 200
        assert server.stop() == 0
        answers = [each.result() for each in asked]
    statuses = sorted(answer[0] for answer in answers)
    assert statuses[:3] == [200, 200, 200]
    assert set(statuses) == {200, 503}
    for status, found, headers in answers:
        assert headers.get("retry-after") == ("1" if status == 503 else None)
        assert status != 200 or found["outputs"][0]["data"] == [2.0]


def test_a_model_too_slow_for_its_deadline(folder: Path, start: Start) -> None:
    heavy(folder)
    server = start(folder, "--request-timeout=0.1", "--parallel=1")
    body = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [4]}]}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.ask("POST", INFER, body)[:2], range(8)))
    assert (503, {"error": "the model did not answer in time"}) in answers
    server.wait_for("request")
    assert server.ask("GET", "/v2/health/live")[0] == 200
