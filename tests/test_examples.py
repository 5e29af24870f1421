"""Every example builds in a copy of its folder, keeps its gates, and has nothing to do the second time, and gives the same bytes elsewhere."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelspec.runtime.processing import text_input
from tests import served_text

EXAMPLES = Path(__file__).parent.parent / "examples"
COMMON = ("metrics.json", "model.onnx", "runtime.json", "signature.json", "golden/inputs.npz", "golden/outputs.npz")
LARGEST = 500_000
EXTRA = {"breast-cancer": {"labels.txt"}, "minilm": {"tokenizer.json"}}

TARGETS = {
    "breast-cancer": ("cpu-fp32",),
    "digits": ("cpu-fp32", "cpu-int8"),
    "minilm": ("cpu-int8",),
}


def build(folder: Path) -> dict[str, Any]:
    """`modelspec build --format json` in the folder, with a cache beside it."""
    env = {**os.environ, "MODELSPEC_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-m", "modelspec", "build", "--format", "json", "--progress", "plain"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def verify(published: Path, spec: Path) -> dict[str, Any]:
    """`modelspec verify --rebuild --format json`."""
    command = [
        sys.executable,
        "-m",
        "modelspec",
        "verify",
        str(published),
        "--rebuild",
        "-f",
        str(spec),
        "--format",
        "json",
    ]
    done = subprocess.run(command, cwd=spec.parent, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def check_figures(name: str, metrics: Mapping[str, Mapping[str, float]]) -> None:
    """What each example is there to show, with room for another instruction set."""
    if name == "digits":
        assert metrics["cpu-fp32"]["accuracy"] == pytest.approx(0.9933, abs=0.001)
        assert metrics["cpu-int8"]["accuracy"] >= 0.985
        assert metrics["cpu-int8"]["size"] < metrics["cpu-fp32"]["size"] / 2
        assert metrics["cpu-int8"]["latency_p50"] > 0
    elif name == "minilm":
        assert 0.99 < metrics["cpu-int8"]["cosine_mean"] < 1
        assert metrics["cpu-int8"]["size"] < 30_000_000
    else:
        assert metrics["cpu-fp32"]["accuracy"] == pytest.approx(0.9649, abs=0.0001)
        assert metrics["cpu-fp32"]["roc_auc_ovr"] > 0.99


def test_every_example_is_known() -> None:
    assert {path.parent.name for path in EXAMPLES.glob("*/model.yaml")} == set(TARGETS)


def test_examples_are_small() -> None:
    """Those files that are in the repository; caches of Python and builds are not."""
    large = [
        path
        for path in EXAMPLES.rglob("*")
        if path.is_file() and not {"dist", "__pycache__"} & set(path.parts) and path.stat().st_size > LARGEST
    ]
    assert not large


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_example_builds(name: str, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / name, tmp_path, ignore=shutil.ignore_patterns("dist", "__pycache__"), dirs_exist_ok=True)

    first = build(tmp_path)

    assert first["ran"] > 0
    assert all(gate["passed"] for gate in first["gates"])
    check_figures(name, first["metrics"])

    published = tmp_path / "dist" / name / "1.0.0"
    files = {*COMMON, *EXTRA.get(name, ())}
    expected = {f"{target}/{file}" for target in TARGETS[name] for file in files} | {"MODEL_CARD.md"}
    listed = {line[66:] for line in (published / "checksums.txt").read_text().splitlines()}
    assert listed == expected
    on_disk = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    assert on_disk == expected | {"build.json", "checksums.txt"}
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "checksums.txt"], cwd=published, check=True)

    before = (published / "checksums.txt").read_bytes()
    second = build(tmp_path)

    assert (second["ran"], second["changed"]) == (0, False)
    assert (published / "checksums.txt").read_bytes() == before

    verified = verify(published, tmp_path / "model.yaml")

    assert verified["diagnostics"] == []
    assert verified["rebuild"]["verdict"] == "exact"
    assert {target["verdict"] for target in verified["targets"]} == {"exact"}
    if name == "minilm":
        check_text_in(published / "cpu-int8", tmp_path / "data" / "test.jsonl")


def check_text_in(folder: Path, data: Path) -> None:
    """Text in gives what the source's own code gives: the same tokens, and embeddings that lie close."""
    texts = [json.loads(line)["text"] for line in data.read_text().splitlines()]
    assert len(texts) > 100
    ids, expected = served_text.source([*texts, "", "naïve café 東京 \u0000 x" * 100])
    read = text_input(json.loads((folder / "runtime.json").read_text()), folder)
    assert read is not None
    made = read({"text": np.array([*texts, "", "naïve café 東京 \u0000 x" * 100], dtype=object)})
    assert np.array_equal(made["input_ids"], ids)
    with served_text.server(folder) as (http, grpc):
        for address, protocol, batch in ((http, "http", 1), (http, "http", 16), (grpc, "grpc", 8)):
            found = served_text.embeddings(address, texts, protocol, batch)
            cosines = (found * expected[: len(texts)]).sum(1) / np.linalg.norm(found, axis=1)
            assert cosines.mean() >= 0.99
            assert cosines.min() >= 0.985
