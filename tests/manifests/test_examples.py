"""The examples, deployed in every way."""

from pathlib import Path
from typing import Any, get_args

import pytest

from modelspec.manifests.options import Kubernetes, Manifests
from modelspec.manifests.write import render
from modelspec.spec.load import load
from modelspec.stages.serve import Serve
from tests.manifests.conftest import FULL, facts

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/model.yaml"))


@pytest.mark.parametrize("version", get_args(Kubernetes))
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_every_object_is_valid_on_every_version(path: Path, version: str) -> None:
    spec = load(path).spec
    serve: Any = spec.blocks.get("serve") or Serve()
    signature = spec.signature.as_lists()
    built = facts(serve=serve.settings(), name=spec.name, version=spec.version, signature=signature)
    block = Manifests.model_validate(FULL | {"kubernetes": version})
    files = {file.path for file in render(block, built)}
    assert len(files) > 30
