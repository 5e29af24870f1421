"""What the files that a spec names are, when a build looks at them."""

from pathlib import Path

import pytest

from modelspec.errors import ModelspecError
from modelspec.resolve import resolve
from modelspec.spec.load import load
from modelspec.store.stat_cache import StatCache

SPEC = """\
apiVersion: modelspec/v1
name: digits
version: "1.0.0"
source: {framework: onnx, artifact: sub}
targets: [{device: cpu}]
"""


def test_a_folder_is_its_files_and_has_some(project: Path) -> None:
    (project / "model.yaml").write_text(SPEC)
    loaded = load(project / "model.yaml")
    stats = StatCache(project / "stat.json")
    with pytest.raises(ModelspecError, match="MS317 'sub' is an empty folder"):
        resolve(loaded, stats)
    (project / "sub" / "model.onnx").write_bytes(b"")
    (found,) = resolve(loaded, stats).files[("source", "artifact")]
    assert found.name == "sub/model.onnx"
