"""`modelspec init`: what it writes is a valid spec, and nothing is overwritten unasked."""

from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result

from modelspec import registry
from modelspec.cli import command
from modelspec.spec import yaml
from modelspec.spec.load import load
from modelspec.spec.schema import as_text, build


def init(*args: str) -> Result:
    return CliRunner().invoke(command, ["init", *args])


@pytest.mark.parametrize("framework", registry.frameworks())
def test_example_of_every_framework_is_valid(framework: str, project: Path) -> None:
    result = init("--framework", framework, str(project))
    assert result.exit_code == 0
    text = (project / "model.yaml").read_bytes()
    assert text.startswith(b"# yaml-language-server: $schema=.modelspec.schema.json\n")
    assert (project / ".modelspec.schema.json").read_text() == as_text()
    assert load(project / "model.yaml").spec.source.name == framework
    assert "next:" not in result.stderr


def test_says_what_is_missing(tmp_path: Path) -> None:
    result = init(str(tmp_path / "new"))
    assert result.exit_code == 0
    assert "'model.onnx' does not exist" in result.stderr


def test_never_overwrites_unasked(project: Path) -> None:
    (project / "model.yaml").write_text("mine")
    assert init(str(project)).exit_code == 2
    assert (project / "model.yaml").read_text() == "mine"
    assert init(str(project), "--force").exit_code == 0
    (project / "model.yaml").unlink()
    (project / "model.yaml").symlink_to(project / "elsewhere")
    assert init(str(project)).exit_code == 2
    assert not (project / "elsewhere").exists()
    (project / "model.yaml").unlink()
    assert init(str(project)).exit_code == 0
    assert (project / "model.yaml").read_text() != "mine"


def test_from_onnx(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info("x: [1]", TensorProto.FLOAT, ["batch size", 3])]
    outputs = [helper.make_tensor_value_info("no", TensorProto.FLOAT, ["batch size", 3])]
    graph = helper.make_graph([helper.make_node("Relu", ["x: [1]"], ["no"])], "g", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "My Model_v2.onnx").write_bytes(model.SerializeToString())
    assert onnx.__name__
    result = init("--from", str(tmp_path / "My Model_v2.onnx"), str(tmp_path))
    assert result.exit_code == 0, result.output
    spec = load(tmp_path / "model.yaml").spec
    assert spec.name == "my-model-v2"
    assert list(spec.signature.inputs) == ["x: [1]"]
    assert spec.signature.outputs["no"].dtype == "float32"
    jsonschema.validate(as_lists(yaml.parse((tmp_path / "model.yaml").read_bytes()).data), build())


@pytest.mark.parametrize("names", [["x\u202ey"], ["x\x85"], [f"x{number}" for number in range(2000)]])
def test_from_onnx_with_names_that_no_spec_may_hold(names: list[str], tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in names]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Sum", names, ["y"])], "g", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    assert init("--from", str(tmp_path / "model.onnx"), str(tmp_path)).exit_code == 0
    assert load(tmp_path / "model.yaml").spec.signature.inputs == {}


def as_lists(value: object) -> object:
    if isinstance(value, tuple):
        return [as_lists(item) for item in value]
    return {key: as_lists(item) for key, item in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize(
    "args", [["--from", "nothing.onnx"], ["--framework", "cobol"], ["--from", "m.onnx", "--framework", "sklearn"]]
)
def test_wrong_usage(args: list[str], tmp_path: Path) -> None:
    result = init(*args, str(tmp_path))
    assert result.exit_code == 2
    assert not (tmp_path / "model.yaml").exists()
