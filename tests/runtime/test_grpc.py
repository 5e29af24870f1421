"""The protocol over gRPC, by a plain channel: messages as they are on the wire, and the same refusals as over REST."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import trustme

from modelspec.runtime.grpc_messages import CLASSES, SERVICE
from tests.runtime.conftest import Running, Start, line, pair, starter
from tests.runtime.test_access import make

CODE = grpc.StatusCode


def call(target: Any, name: str, request: Any = None, **options: Any) -> Any:
    """One call over a channel, or to an address."""
    if isinstance(target, str):
        with grpc.insecure_channel(target) as channel:
            return call(channel, name, request, **options)
    method = target.unary_unary(
        f"/{SERVICE}/{name}",
        request_serializer=CLASSES[f"{name}Request"].SerializeToString,
        response_deserializer=CLASSES[f"{name}Response"].FromString,
    )
    return method(CLASSES[f"{name}Request"]() if request is None else request, timeout=20, **options)


def infer(x: Any, *, raw: bool = True, name: str = "line", datatype: str = "FP32", **more: Any) -> Any:
    """A request to the linear model."""
    array = np.asarray(x, np.float32)
    request = CLASSES["ModelInferRequest"](model_name=name, **more)
    tensor = request.inputs.add(name="x", datatype=datatype, shape=array.shape)
    if raw:
        request.raw_input_contents.append(array.tobytes())
    else:
        tensor.contents.fp32_contents.extend(array.ravel().tolist())
    return request


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    for begin in starter():
        yield begin(line(tmp_path_factory.mktemp("grpc")), "--grpc-port=0")


def test_health_and_metadata(server: Running) -> None:
    assert call(server.grpc, "ServerLive").live
    assert call(server.grpc, "ServerReady").ready
    assert call(server.grpc, "ModelReady", CLASSES["ModelReadyRequest"](name="line", version="1.2.0+b")).ready
    assert call(server.grpc, "ServerMetadata").name == "modelspec"
    found = call(server.grpc, "ModelMetadata", CLASSES["ModelMetadataRequest"](name="line"))
    assert (found.inputs[0].name, found.inputs[0].datatype, list(found.inputs[0].shape)) == ("x", "FP32", [-1, 3])


@pytest.mark.parametrize("raw", [True, False])
def test_infer(server: Running, raw: bool) -> None:
    found = call(server.grpc, "ModelInfer", infer([[1, 2, 3.5]], raw=raw, id="a"))
    assert (found.model_name, found.model_version, found.id) == ("line", "1.2.0+b", "a")
    assert list(found.outputs[0].shape) == [1, 3]
    assert np.frombuffer(found.raw_output_contents[0], np.float32).tolist() == [3, 5, 8]


def _both() -> Any:
    request = infer([[1, 2, 3]])
    request.inputs[0].contents.fp32_contents.append(1)
    return request


def _asks(name: str, count: int = 1) -> Any:
    request = infer([[1, 2, 3]])
    for _ in range(count):
        request.outputs.add(name=name)
    return request


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (infer([[1, 2, 3]], name="other"), CODE.NOT_FOUND, "the model here is line 1.2.0+b"),
        (infer([[1, 2, 3]], model_version="2"), CODE.NOT_FOUND, "the model here is"),
        (infer([[1, 2, 11]]), CODE.INVALID_ARGUMENT, "from 1 to 11; expected 'x', FP32 [batch, 3] from 0 to 10"),
        (infer([[1, 2]]), CODE.INVALID_ARGUMENT, "has the shape [1, 2]"),
        (infer([[1, 2, float("nan")]], raw=False), CODE.INVALID_ARGUMENT, "NaN or infinity"),
        (infer([[1, 2, 3]], datatype="FP64"), CODE.INVALID_ARGUMENT, "the datatype 'FP64'"),
        (infer([[1, 2, 3]], raw_input_contents=[b"x"]), CODE.INVALID_ARGUMENT, "one entry for each input"),
        (CLASSES["ModelInferRequest"](model_name="line"), CODE.INVALID_ARGUMENT, "input 'x' is missing"),
        (_both(), CODE.INVALID_ARGUMENT, "both contents and raw"),
        (_asks("z"), CODE.INVALID_ARGUMENT, "no output 'z'"),
        (_asks("y", 2), CODE.INVALID_ARGUMENT, "asked for twice"),
        (infer([[1, 2, 3]], id="a" * 2000), CODE.INVALID_ARGUMENT, "the id must have"),
    ],
)
def test_refusals(server: Running, request_: Any, code: Any, said: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        call(server.grpc, "ModelInfer", request_)
    assert refused.value.code() is code
    assert said in refused.value.details()


def test_nonsense_on_the_wire(server: Running) -> None:
    host, _, port = server.grpc.rpartition(":")
    for data in (b"", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 5000, b"\0" * 5000):
        with socket.create_connection((host, int(port)), timeout=5) as client:
            client.sendall(data)
    with grpc.insecure_channel(server.grpc) as channel:
        for path, code in (
            (f"/{SERVICE}/ModelInfer", None),
            (f"/{SERVICE}/Unknown", CODE.UNIMPLEMENTED),
            ("/x/y", CODE.UNIMPLEMENTED),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(path)(b"\xff\xff\xff", timeout=10)
            assert code is None or refused.value.code() is code
    assert call(server.grpc, "ServerLive").live


def test_text_and_whole_numbers(tmp_path: Path, start: Start) -> None:
    place = tmp_path / "m" / "1.0.0" / "cpu"
    place.mkdir(parents=True)
    pair(place)
    server = start(place, "--grpc-port=0")
    request = CLASSES["ModelInferRequest"](model_name="m")
    request.inputs.add(name="text", datatype="BYTES", shape=[2]).contents.bytes_contents.extend(
        [b"a", "\u20ac".encode()]
    )
    request.inputs.add(name="number", datatype="INT64", shape=[2]).contents.int64_contents.extend([1, 2])
    found = call(server.grpc, "ModelInfer", request)
    assert found.raw_output_contents[0] == b"\x01\0\0\0a\x03\0\0\0" + "\u20ac".encode()
    request.inputs[0].contents.bytes_contents[0] = b"\xff"
    with pytest.raises(grpc.RpcError, match="not UTF-8"):
        call(server.grpc, "ModelInfer", request)


def test_keys_certificates_and_log(folder: Path, tmp_path: Path, start: Start) -> None:
    key, entry = make("team-a")
    (tmp_path / "keys").write_text(entry)
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = start(
        folder,
        "--grpc-port=0",
        f"--api-keys={tmp_path / 'keys'}",
        f"--tls-cert={tmp_path / 'server.pem'}",
        f"--tls-client-ca={tmp_path / 'ca.pem'}",
    )
    client = authority.issue_cert("a@example.org", common_name="team-b")
    private, chain = client.private_key_pem.bytes(), client.cert_chain_pems[0].bytes()
    trusted = grpc.ssl_channel_credentials(authority.cert_pem.bytes(), private, chain)
    with grpc.secure_channel(server.grpc, trusted) as channel:
        assert call(channel, "ServerLive").live
        with pytest.raises(grpc.RpcError) as refused:
            call(channel, "ModelInfer", infer([[1, 2, 3]]))
        assert refused.value.code() is CODE.UNAUTHENTICATED
        call(channel, "ModelInfer", infer([[1, 2, 3]]), metadata=[("authorization", f"Bearer {key}")])
    with grpc.secure_channel(server.grpc, grpc.ssl_channel_credentials(authority.cert_pem.bytes())) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            call(channel, "ServerLive")
        assert refused.value.code() is CODE.UNAVAILABLE
    server.stop()
    assert [entry["caller"] for entry in server.log if entry["event"] == "request"] == ["team-b", "team-a"]
    assert key not in str(server.log)


def test_drain(folder: Path, start: Start) -> None:
    server = start(folder, "--grpc-port=0", "--drain-delay=0.3")
    address, done, late = server.grpc, [], []

    def load(channel: Any) -> None:
        while True:
            try:
                found = call(channel, "ModelInfer", infer([[1, 2, 3]]))
            except grpc.RpcError as error:
                late.append(error.code())
                return
            done.append(found.raw_output_contents[0])

    with ThreadPoolExecutor(4) as pool:
        channels = [grpc.insecure_channel(address) for _ in range(4)]
        for channel in channels:
            pool.submit(load, channel)
        time.sleep(0.3)
        assert server.stop() == 0
    for channel in channels:
        channel.close()
    assert len(set(done)) == 1
    assert len(done) > 4
    # What the server had not yet taken is refused by the library; whatever it took, the client got.
    assert set(late) <= {CODE.UNAVAILABLE, CODE.CANCELLED}
    taken = [entry for entry in server.log if entry["event"] == "request"]
    assert len(taken) == len(done)
    assert {entry["status"] for entry in taken} == {200}
