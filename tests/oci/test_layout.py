"""The config, the artifact and the layout: JSON of fixed bytes, valid by the official schema, whatever a spec says."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelspec.errors import ModelspecError
from modelspec.oci import modelpack
from modelspec.oci.config import Layered, Program, image_config
from modelspec.oci.descriptor import Descriptor
from modelspec.oci.layout import Layout, tag_of
from modelspec.stages import _containerize_image as image
from tests.oci import bases

SCHEMA = json.loads((Path(__file__).parent / "modelpack-config.schema.json").read_text())
LAYER = Descriptor("application/vnd.oci.image.layer.v1.tar", f"sha256:{'a' * 64}", 5)
HOSTILE = st.text(min_size=1) | st.sampled_from(
    ["a\nRUN id", 'a"; b', "$(id)", "`id`", "\x00", "\x1b[2J", "\u202e", "a\r\nb", "';--", "{{ 7*7 }}", "\\"]
)


@given(text=HOSTILE, authors=st.lists(HOSTILE, max_size=3))
def test_whatever_a_spec_says_is_data(text: str, authors: list[str]) -> None:
    """Strings of the spec are values of labels and of the artifact's config, and stand nowhere else."""
    model = {"name": "digits", "version": "1.0.0", "description": text, "license": text, "authors": authors}
    labels = image.labels(model, text, text, {"com.example.own": text}, "0" * 64)
    program = image.program(model, {"serve": {"port": 8080}}, None)
    base = {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": []}}
    config = image_config(base, [Layered(LAYER.digest, "model")], program, labels, 0)
    plain = image_config(base, [Layered(LAYER.digest, "model")], program, {}, 0)
    found = json.loads(json.dumps(config))
    assert found["config"].pop("Labels") == labels
    plain["config"].pop("Labels")
    assert found == plain
    assert labels["org.opencontainers.image.licenses"] == text
    pack = modelpack.config({**model, "source": text, "revision": text}, {"precision": "int8", "file": "model.onnx"}, [LAYER], 0)  # fmt: skip
    jsonschema.validate(pack, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert pack["descriptor"]["description"] == text


def test_the_artifact_says_what_the_model_is() -> None:
    pack = modelpack.config({"name": "m", "version": "1.0.0"}, {"precision": "fp32", "file": "model.onnx"}, [LAYER], 60)
    jsonschema.validate(pack, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert pack == {
        "descriptor": {"createdAt": "1970-01-01T00:01:00Z", "name": "m", "version": "1.0.0"},
        "config": {"format": "onnx", "precision": "float32"},
        "modelfs": {"type": "layers", "diffIds": [LAYER.digest]},
    }


def test_of_the_base_stays_what_the_server_can_use() -> None:
    base: dict[str, Any] = {
        "architecture": "arm64",
        "os": "linux",
        "variant": "v8",
        "config": {
            "Env": ["PATH=/opt/venv/bin", "LANG=C.UTF-8", "PYTHONPATH=/elsewhere"],
            "Labels": {"team": "os", "org.opencontainers.image.title": "a base"},
            "User": "root",
            "Cmd": ["bash"],
            "Volumes": {"/data": {}},
            "ExposedPorts": {"22/tcp": {}},
        },
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "b" * 64]},
    }
    program = Program(["python3"], {"PYTHONPATH": "/opt/modelspec"}, [8080], ["python3"])
    made = image_config(base, [Layered(LAYER.digest, "model")], program, {"x": "y"}, 0)
    assert made["config"]["Env"] == ["PATH=/opt/venv/bin", "LANG=C.UTF-8", "PYTHONPATH=/opt/modelspec"]
    assert made["config"]["Labels"] == {"team": "os", "x": "y"}
    assert made["config"]["User"] == "65532:65532"
    assert made["config"]["ExposedPorts"] == {"8080/tcp": {}}
    assert not {"Cmd", "Volumes"} & set(made["config"])
    assert made["rootfs"]["diff_ids"] == ["sha256:" + "b" * 64, LAYER.digest]
    assert made["variant"] == "v8"
    assert made["created"] == "1970-01-01T00:00:00Z"


def test_a_damaged_blob_is_not_read(tmp_path: Path) -> None:
    layout = Layout(bases.write(tmp_path / "base"))
    (descriptor,) = layout.index()
    layout.read(descriptor)
    layout.blob(descriptor.digest).write_bytes(b"{}")
    with pytest.raises(ModelspecError, match="MS650"):
        layout.read(descriptor)


def test_a_tag_has_no_plus() -> None:
    assert tag_of("1.0.0+cpu") == "1.0.0_cpu"
