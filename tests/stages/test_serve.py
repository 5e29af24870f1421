"""What `serve:` says reaches runtime.json, and the server starts with it."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from modelspec.errors import ModelspecError
from modelspec.runtime.references import Reference
from modelspec.runtime.settings import options
from modelspec.stages.serve import Serve
from tests.conftest import RunStage

SIGNATURE: dict[str, Any] = {"inputs": [{"name": "x", "shape": ["n", 3]}], "outputs": [{"name": "y", "shape": ["n"]}]}


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """What `compile` and `signature` give."""
    found = {}
    for slot, content in (
        ("runtime", {"file": "model.onnx", "session": {"intra_op_num_threads": 1}}),
        ("signature", SIGNATURE),
    ):
        found[slot] = tmp_path / "given" / slot
        found[slot].mkdir(parents=True)
        (found[slot] / f"{slot}.json").write_text(json.dumps(content))
    return found


def said(run_stage: RunStage, inputs: dict[str, Path], block: dict[str, Any]) -> Any:
    """runtime.json after the stage, by the way its options take to a worker."""
    stage = Serve.model_validate_json(json.dumps(Serve.model_validate(block).keyed()))
    return json.loads((run_stage(stage, inputs).output("runtime") / "runtime.json").read_text())


def test_every_option_reaches_the_server(run_stage: RunStage, inputs: dict[str, Path]) -> None:
    block = {
        "port": 81, "batching": {"max_size": 8, "max_delay": "3ms"}, "threads": 2, "parallel": 3, "queue": 4,
        "max_body": "1MiB", "request_timeout": "5s", "memory_arena": False, "spinning": True,
        "auth": {"api_keys": {"env": "KEYS"}},
        "tls": {"cert": {"secret": "a", "key": "tls.crt"}, "key": {"file": "/tls.key"}, "client_ca": {"file": "/ca"}},
    }  # fmt: skip
    assert said(run_stage, inputs, block) == {
        "file": "model.onnx",
        "session": {"intra_op_num_threads": 1, "enable_cpu_mem_arena": False, "allow_spinning": True},
        "serve": {
            "port": 81, "batch_size": 8, "batch_delay": 0.003, "threads": 2, "parallel": 3, "queue": 4,
            "max_body": 1 << 20, "request_timeout": 5.0, "api_keys": {"env": "KEYS"},
            "tls_cert": {"secret": "a", "key": "tls.crt"}, "tls_key": {"file": "/tls.key"}, "tls_client_ca": {"file": "/ca"},
        },
    }  # fmt: skip
    known = {option.field: option for option in options()}
    for name, value in said(run_stage, inputs, block)["serve"].items():
        assert not known[name].wrong(Reference.parse(value) if isinstance(value, dict) else value)


def test_what_is_not_said_is_left_to_the_server(run_stage: RunStage, inputs: dict[str, Path]) -> None:
    assert said(run_stage, inputs, {})["serve"] == {"port": 8080}


@pytest.mark.parametrize("shapes", [([1, 3], ["n"]), (["n", 3], ["m"]), (["n"], [])])
def test_requests_that_cannot_be_joined(run_stage: RunStage, inputs: dict[str, Path], shapes: tuple[Any, Any]) -> None:
    signature = {"inputs": [{"name": "x", "shape": shapes[0]}], "outputs": [{"name": "y", "shape": shapes[1]}]}
    (inputs["signature"] / "signature.json").write_text(json.dumps(signature))
    with pytest.raises(ModelspecError) as refused:
        said(run_stage, inputs, {"batching": {"max_size": 8}})
    (problem,) = refused.value.diagnostics
    assert (problem.code, problem.path[-1]) == ("MS507", "batching")


@pytest.mark.parametrize(
    "block",
    [
        {"batching": {"max_size": 1}}, {"batching": {"max_size": 4, "max_delay": "11s"}}, {"max_body": "10B"}, {"max_body": "5ms"},
        {"batching": {"max_size": 4, "max_delay": "0ms"}}, {"request_timeout": "1MB"}, {"request_timeout": 5}, {"port": 0}, {"workers": 2},
    ],
)  # fmt: skip
def test_refused(block: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Serve.model_validate(block)
