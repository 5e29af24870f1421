"""Helm, KServe, Triton and Compose: what they render or read is what was meant."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from modelspec.errors import ModelspecError
from tests.manifests.conftest import BLOCKS, FULL, facts, load, written

HELM = Path(__file__).parent / "helm_render.py"


def chart(folder: Path) -> dict[str, Any]:
    """What Helm itself makes of a chart, by kind."""
    python = _tools_python()
    done = subprocess.run([python, HELM, folder], capture_output=True, text=True, timeout=120)
    if "No module named 'helm_python'" in done.stderr:
        pytest.skip("helm-python-sdk is not installed beside the tools; .ci/run installs it")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["errors"] == []
    objects = [yaml.safe_load(text) for text in found["rendered"].values()]
    return {one["kind"]: one for one in objects if one}


def _tools_python() -> str:
    tools = os.environ.get("MODELSPEC_TOOLS")
    return f"{tools}/bin/python" if tools else sys.executable


@pytest.mark.parametrize("name", ["full", "replicas"])
def test_helm_renders_what_the_plain_files_hold(name: str, tmp_path: Path) -> None:
    output = written(tmp_path, BLOCKS[name])
    plain = {
        one["kind"]: one for path in (output / "kubernetes").iterdir() if (one := load(path))["kind"] != "Kustomization"
    }
    assert chart(output / "helm" / "digits") == plain  # fmt: skip


def test_helm_takes_strings_that_look_like_something_else(tmp_path: Path) -> None:
    notes = {
        f"example.com/{number}": text
        for number, text in enumerate(["no", "1e3", "{{ .Values.name }}", "a\n b: c\n", "0x1", "~", "é\"'"])
    }
    output = written(tmp_path, FULL | {"annotations": notes})
    found = chart(output / "helm" / "digits")["Deployment"]["metadata"]["annotations"]
    assert {key: found[key] for key in notes} == notes  # fmt: skip


@pytest.mark.parametrize("name", ["full", "replicas"])
def test_the_values_fit_their_schema_and_others_do_not(name: str, tmp_path: Path) -> None:
    folder = written(tmp_path, BLOCKS[name]) / "helm" / "digits"
    schema = json.loads((folder / "values.schema.json").read_text())
    Draft7Validator.check_schema(schema)
    values = load(folder / "values.yaml")
    assert list(Draft7Validator(schema).iter_errors(values)) == []
    wrong: dict[str, Any]
    for wrong in ({"image": "digits:latest"}, {"replica": 2}, {"resources": {}}, {"scheme": "FTP"}):
        assert list(Draft7Validator(schema).iter_errors(values | wrong))


def test_kserve_is_told_what_it_would_guess_wrong(tmp_path: Path) -> None:
    folder = written(tmp_path, FULL) / "kserve"
    service, runtime = load(folder / "inferenceservice.yaml"), load(folder / "servingruntime.yaml")
    model = service["spec"]["predictor"]["model"]
    assert model == {"modelFormat": {"name": "modelspec"}, "runtime": "digits", "protocolVersion": "v2"}
    assert runtime["spec"]["protocolVersions"] == ["v2"]
    assert [container["name"] for container in runtime["spec"]["containers"]] == ["kserve-container"]
    assert (service["spec"]["predictor"]["minReplicas"], service["spec"]["predictor"]["maxReplicas"]) == (2, 8)


def parsed(folder: Path) -> Any:
    """config.pbtxt, as Triton's own description of it reads it."""
    model_config_pb2 = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    text = (folder / "triton" / "digits" / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig()), model_config_pb2


BATCHED = {"batch_size": 16, "batch_delay": 0.002, "queue": 64, "request_timeout": 5.0}


def test_triton_reads_the_model_with_and_without_batches(tmp_path: Path) -> None:
    block = {"formats": ("triton",)}
    plain, pb = parsed(written(tmp_path / "a", block, serve={}))
    assert (plain.name, plain.platform, plain.backend, plain.max_batch_size) == (
        "digits",
        "onnxruntime_onnx",
        "onnxruntime",
        0,
    )
    assert [(i.name, i.data_type, list(i.dims)) for i in plain.input] == [("image", pb.TYPE_FP32, [-1, 64])]
    assert not plain.HasField("dynamic_batching")
    batched, _ = parsed(written(tmp_path / "b", block, serve=BATCHED))
    assert (batched.max_batch_size, batched.dynamic_batching.max_queue_delay_microseconds) == (16, 2000)
    assert [list(i.dims) for i in (*batched.input, *batched.output)] == [[64], [10]]
    assert batched.dynamic_batching.default_queue_policy.max_queue_size == 64  # fmt: skip


NAMES = ["image", 'a"b', "a\nb", "é日本🙂", "}", "# a", "\\", "{{ x }}"]


@pytest.mark.parametrize("name", NAMES)
def test_triton_reads_names_of_tensors_as_they_are(name: str, tmp_path: Path) -> None:
    kinds = ["bool", "uint8", "int64", "float16", "float64", "string"]
    signature = {
        "inputs": [{"name": f"{name}{kind}", "dtype": kind, "shape": []} for kind in kinds],
        "outputs": [{"name": name, "dtype": "float32", "shape": ["n", 3, "m"]}],
    }
    found, pb = parsed(written(tmp_path, {"formats": ("triton",)}, serve={}, signature=signature))
    assert [i.name for i in found.input] == [f"{name}{kind}" for kind in kinds]
    assert [pb.DataType.Name(i.data_type) for i in found.input] == [
        "TYPE_BOOL", "TYPE_UINT8", "TYPE_INT64", "TYPE_FP16", "TYPE_FP64", "TYPE_STRING",
    ]  # fmt: skip
    assert all(list(i.dims) == [1] and i.HasField("reshape") and not i.reshape.shape for i in found.input)
    assert (found.output[0].name, list(found.output[0].dims)) == (name, [-1, 3, -1])


def test_triton_takes_no_type_it_does_not_know(tmp_path: Path) -> None:
    signature = {"inputs": [{"name": "x", "dtype": "bfloat16", "shape": [1]}], "outputs": []}
    with pytest.raises(ModelspecError, match="takes no bfloat16"):
        written(tmp_path, {"formats": ("triton",)}, serve={}, signature=signature)


def test_compose_confines_the_server_and_mounts_its_secrets(tmp_path: Path) -> None:
    serve = {
        "api_keys": {"secret": "digits-keys", "key": "keys.txt"},
        "tls_cert": {"file": "/etc/$tls.crt"},
        "tls_key": {"env": "KEY"},
    }
    found = load(written(tmp_path, {"formats": ("compose",)}, serve=serve) / "compose" / "compose.yaml")
    server = found["services"]["server"]
    assert server["image"] == facts().image.reference
    assert (server["read_only"], server["cap_drop"], server["user"]) == (True, ["ALL"], "65532:65532")
    assert [(v["source"], v["target"]) for v in server["volumes"]] == [
        ("./secrets/digits-keys/keys.txt", "/run/secrets/modelspec/digits-keys/keys.txt"),
        ("/etc/$$tls.crt", "/etc/$$tls.crt"),
    ]
    assert server["environment"] == ["KEY"]
    assert {port["host_ip"] for port in server["ports"]} == {"127.0.0.1"}  # fmt: skip


def test_the_health_check_of_compose_tells_ready_from_not(tmp_path: Path) -> None:
    from tests.runtime.conftest import line, starter

    ends = starter()
    try:
        server = next(ends)(line(tmp_path))
        found = load(
            written(tmp_path / "out", {"formats": ("compose",)}, serve={"port": server.port})
            / "compose"
            / "compose.yaml"
        )
        _, *command = found["services"]["server"]["healthcheck"]["test"]
        assert subprocess.run(command, capture_output=True, timeout=30).returncode == 0
        server.stop()
        assert subprocess.run(command, capture_output=True, timeout=30).returncode != 0
    finally:
        list(ends)  # fmt: skip
