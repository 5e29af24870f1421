"""The protocol over REST, by raw requests and by NVIDIA's client."""

from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton

from tests.runtime.conftest import Running, Start, pair, request

INFER = "/v2/models/line/infer"


def test_routes(folder: Path, start: Start) -> None:
    server = start(folder)
    model = {
        "name": "line", "versions": ["1.2.0+b"], "platform": "onnx_onnxv1",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}],
    }  # fmt: skip
    assert server.ask("GET", "/v2/health/live")[:2] == (200, {"live": True})
    assert server.ask("GET", "/v2/health/ready")[0] == 200
    assert server.ask("GET", "/v2")[1]["extensions"] == ["binary_tensor_data"]
    assert server.ask("GET", "/v2/models/line")[:2] == (200, model)
    for version in ("1.2.0+b", "1.2.0%2Bb"):
        assert server.ask("GET", f"/v2/models/line/versions/{version}")[:2] == (200, model)
        assert server.ask("GET", f"/v2/models/line/versions/{version}/ready")[0] == 200
    for path in ("/", "/v2/models/other", "/v2/models/line/versions/2", "/v2/models", "/%76%32", "/v2/models/line/../line"):  # fmt: skip
        assert server.ask("GET", path)[0] == 404
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"):
        assert server.ask(method, "/v2")[0] == 405
    status, _, headers = server.ask("GET", INFER)
    assert (status, headers["allow"]) == (405, "POST")


def test_json(folder: Path, start: Start) -> None:
    server = start(folder)
    nested = {"id": "a", **request([[1, 2, 3.5]])}
    status, found, _ = server.ask("POST", INFER, nested)
    output = {"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [3.0, 5.0, 8.0]}
    assert (status, found) == (200, {"model_name": "line", "model_version": "1.2.0+b", "id": "a", "outputs": [output]})
    flat = request([1, 2, 3.5], shape=[1, 3]) | {"outputs": [{"name": "y"}], "parameters": {"any": 1}}
    assert server.ask("POST", INFER, flat)[1]["outputs"] == [output]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_client_of_nvidia(folder: Path, start: Start, binary_in: bool, binary_out: bool) -> None:
    server = start(folder)
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    assert client.is_server_live()
    assert client.is_model_ready("line", "1.2.0+b")
    x = np.load(folder / "golden" / "inputs.npz")["x"]
    given = triton.InferInput("x", x.shape, "FP32")
    given.set_data_from_numpy(x, binary_data=binary_in)
    outputs = [triton.InferRequestedOutput("y", binary_data=binary_out)]
    found = client.infer("line", [given], outputs=outputs, request_id="9")
    assert np.array_equal(found.as_numpy("y"), np.load(folder / "golden" / "outputs.npz")["y"])
    assert found.get_response()["id"] == "9"
    client.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "z"}, "no input 'z'; expected 'x', FP32 [batch, 3] from 0 to 10"),
        ({"datatype": "FP64"}, "datatype 'FP64'; expected 'x', FP32"),
        ({"shape": [1, 4]}, "shape [1, 4]; expected 'x', FP32 [batch, 3]"),
        ({"shape": [0, 3], "data": []}, "whole numbers from 1"),
        ({"shape": [True, 3]}, "whole numbers from 1"),
        ({"shape": "1,3"}, "whole numbers from 1"),
        ({"data": [[1, 2]]}, "do not have its shape"),
        ({"data": [1, 2]}, "holds 2 elements"),
        ({"data": [[1, 2, [3]]]}, "something else than numbers"),
        ({"data": [[1, 2, True]]}, "something else than numbers"),
        ({"data": [[1, 2, None]]}, "something else than numbers"),
        ({"data": [["1", 2, 3]]}, "something else than numbers"),
        ({"data": [[1, 2, 1e300]]}, "does not fit into FP32"),
        ({"data": [[1, 2, 10.5]]}, "goes from 1 to 10.5; expected 'x', FP32 [batch, 3] from 0 to 10"),
        ({"data": {"a": 1}}, "must be a list"),
        ({"extra": 1}, "unknown key 'extra'"),
        ({"parameters": {"a": [1]}}, "must be strings, numbers, true or false"),
        ({"parameters": {"binary_data_size": 12}}, "and 0 bytes are left"),
    ],
)
def test_wrong_inputs(shared: Running, changes: dict[str, object], said: str) -> None:
    status, found, _ = shared.ask("POST", INFER, request([[1, 2, 3]], **changes))
    assert status == 400
    assert said in found["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not valid JSON"),
        (b"[]", "the request must be an object"),
        (b"{}", "'inputs' must be a list"),
        (b'{"inputs": []}', "'inputs' must be a list"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"inputs": NaN}', "not valid JSON"),
        (b'{"id": 1, "inputs": []}', "the id must be a string"),
        (b'{"id": null, "inputs": []}', "the id must be a string"),
    ],
)
def test_wrong_bodies(shared: Running, body: bytes, said: str) -> None:
    status, found, _ = shared.ask("POST", INFER, body)
    assert status == 400
    assert said in found["error"]


def test_wrong_outputs(shared: Running) -> None:
    for outputs, said in (
        ([{"name": "z"}], "no output 'z'"),
        (None, "'outputs' must be a list"),
        ([{"name": "y"}, {"name": "y"}], "'outputs' has 2 tensors"),
        ([{"name": "y", "parameters": {"binary_data": 1}}], "must be true or false"),
        ([{"name": "y", "parameters": {"classification": 2}}], "has no class names"),
    ):
        status, found, _ = shared.ask("POST", INFER, request([[1, 2, 3]]) | {"outputs": outputs})
        assert (status, said in found["error"]) == (400, True), found


def test_binary_by_hand(shared: Running) -> None:
    raw = np.array([1, 2, 3], np.float32).tobytes()
    head = b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","parameters":{"binary_data_size":12}}],"parameters":{"binary_data_output":true}}'
    lengths = {"Inference-Header-Content-Length": str(len(head))}
    status, found, headers = shared.ask("POST", INFER, head + raw, lengths)
    at = int(headers["inference-header-content-length"])
    assert (status, np.frombuffer(found[at:], np.float32).tolist()) == (200, [3, 5, 7])
    for body, length in (
        (head + raw[:-1], len(head)), (head + raw + b"x", len(head)), (head + raw, len(head) - 1),
        (head + raw, 10**9), (head + raw, -1), (head + raw, "0x1"), (head + raw, 10**30),
    ):  # fmt: skip
        assert shared.ask("POST", INFER, body, {"Inference-Header-Content-Length": str(length)})[0] == 400
    nan = head + np.array([1, np.nan, 3], np.float32).tobytes()
    assert "NaN or infinity" in shared.ask("POST", INFER, nan, lengths)[1]["error"]


def test_kinds_of_bodies(shared: Running) -> None:
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Encoding": "gzip"}):  # fmt: skip
        assert shared.ask("POST", INFER, request([[1, 2, 3]]), headers)[0] == 415
    assert shared.ask("POST", INFER, request([[1, 2, 3]]), {"Content-Type": "application/json; charset=utf-8"})[0] == 200  # fmt: skip


def test_limits(folder: Path, start: Start) -> None:
    server = start(folder, "--max-body=2000", "--max-elements=30")
    assert server.ask("POST", INFER, request([[1, 2, 3]] * 10))[0] == 200
    status, found, _ = server.ask("POST", INFER, request([[1, 2, 3]] * 11))
    assert (status, found) == (413, {"error": "the inputs have more than 30 elements; send fewer at a time"})
    assert server.ask("POST", INFER, b" " * 2001)[0] == 413
    assert server.ask("POST", INFER, iter([b" " * 1000] * 3))[0] == 413


def test_several_inputs_and_text(tmp_path: Path, start: Start) -> None:
    """Axes of one name agree; text goes in and out, as JSON and as bytes."""
    place = tmp_path / "m" / "1.0.0" / "cpu"
    place.mkdir(parents=True)
    pair(place)
    server = start(place)
    path = "/v2/models/m/infer"

    def body(texts: list[str], numbers: list[object], **changes: object) -> dict[str, object]:
        text = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts}
        number = {"name": "number", "shape": [len(numbers)], "datatype": "INT64", "data": numbers, **changes}
        return {"inputs": [number, text]}

    status, found, _ = server.ask("POST", path, body(["a", "\u20ac"], [1, 2]))
    assert status == 200
    assert {output["name"]: output["data"] for output in found["outputs"]} == {"same": ["a", "\u20ac"], "more": [1, 2]}
    for wrong, said in (
        (body(["a"], [1, 2]), "the axis 'n' is"),
        (body(["a"], [1.5]), "something else than whole numbers"),
        (body(["a"], [2**63]), "does not fit into INT64"),
        ({"inputs": body(["a"], [1])["inputs"][:1]}, "input 'text' is missing"),  # type: ignore[index]
        ({"inputs": body(["a"], [1])["inputs"][:1] * 2}, "given twice"),  # type: ignore[index]
    ):
        status, found, _ = server.ask("POST", path, wrong)
        assert (status, said in found["error"]) == (400, True), found
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    text, number = triton.InferInput("text", [2], "BYTES"), triton.InferInput("number", [2], "INT64")
    text.set_data_from_numpy(np.array(["x", "yz\u20ac"], dtype=object))
    number.set_data_from_numpy(np.array([7, 8]))
    result = client.infer("m", [text, number])
    assert [value.decode() for value in result.as_numpy("same")] == ["x", "yz\u20ac"]
    client.close()
