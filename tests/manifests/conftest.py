"""A built model as the manifests see it, and what is written for it."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelspec.manifests.facts import Facts, ImageFacts, ServerFacts
from modelspec.manifests.options import Manifests
from modelspec.manifests.write import write

SIGNATURE = {
    "inputs": [{"name": "image", "dtype": "float32", "shape": ["batch", 64]}],
    "outputs": [{"name": "probabilities", "dtype": "float32", "shape": ["batch", 10]}],
}
FULL: dict[str, Any] = {
    "formats": ("kubernetes", "monitoring", "kserve", "helm", "triton", "compose", "nginx"),
    "namespace": "vision",
    "autoscale": {"min": 2, "max": 8},
    "resources": {"cpu": "2", "memory": "512MiB"},
    "labels": {"team": "vision"},
    "annotations": {"example.com/contact": "vision@example.com"},
    "pull_secret": "registry",
    "ingress": {"host": "digits.example.com", "gateway_class": "istio", "tls_secret": "digits-tls"},
    "network": {"allow_from": ({"namespace": "shop", "pods": {"app": "web"}},), "allow_to": ({"namespace": "telemetry", "port": 4317},)},
    "monitor": {"token": {"secret": "digits-metrics", "key": "token"}},
    "nginx": {"servers": ("127.0.0.1:9001", "127.0.0.1:9002"), "listen": 9000},
    "environments": {
        "production": {"namespace": "production", "autoscale": {"min": 4, "max": 16}, "host": "digits.example.org", "resources": {"cpu": "4"}},
    },
}  # fmt: skip
"""Everything at once."""
SMALL: dict[str, Any] = {"formats": ("kubernetes",)}
"""Nothing but what is asked for."""
BLOCKS = {"full": FULL, "small": SMALL, "replicas": {"formats": ("kubernetes", "helm", "kserve"), "replicas": 3}}

SERVE = {"port": 8080, "grpc_port": 9000, "api_keys": {"secret": "digits-keys", "key": "keys.txt"}}


def facts(serve: dict[str, Any] | None = None, **changed: Any) -> Facts:
    """A model in an image."""
    image = ImageFacts("registry.example/vision/digits", f"sha256:{'ab' * 32}")
    server = ServerFacts({"serve": SERVE if serve is None else serve})
    values: dict[str, Any] = {
        "name": "digits",
        "version": "1.0.0",
        "image": image,
        "server": server,
        "signature": SIGNATURE,
    }
    return Facts(**(values | changed))


def written(folder: Path, block: dict[str, Any], **changed: Any) -> Path:
    """The files of a block."""
    write(Manifests.model_validate(block), facts(**changed), folder)
    return folder


def load(path: Path) -> Any:
    """One file, as another reader of YAML sees it."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture(params=list(BLOCKS))
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return written(tmp_path / "manifests", BLOCKS[request.param])


@pytest.fixture
def full(tmp_path: Path) -> Path:
    return written(tmp_path / "manifests", FULL)


Tool = Callable[..., str]


def tool(name: str) -> Tool:
    """A program that has to succeed; the test is skipped where it is not installed."""
    path = shutil.which(name, path=f"{os.environ.get('MODELSPEC_TOOLS', '')}/bin:{os.environ['PATH']}:/usr/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed; .ci/run installs it")

    def run(*arguments: str | Path) -> str:
        done = subprocess.run([path, *map(str, arguments)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
