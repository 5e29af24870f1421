"""The package stage: every file of the artifact compressed by itself, both sizes told, uselessness said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelspec import digest
from modelspec.errors import ModelspecError
from modelspec.formats import packed
from modelspec.stage import Determinism, Job
from modelspec.stages.package import Gzip, Package, Xz, Zstd

WAYS: list[Any] = [Gzip(compression="gzip"), Xz(compression="xz"), Zstd(compression="zstd")]


def packaged(run_stage: Any, tmp_path: Path, how: Any, *, zeros: float = 0.8) -> Job:
    """An artifact of two files."""
    random = np.random.default_rng(0)
    weights = random.normal(size=20_000).astype(np.float32) * (random.random(20_000) >= zeros)
    for name in ("artifact", "runtime"):
        (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / "artifact" / "model.onnx").write_bytes(b"graph" * 100)
    (tmp_path / "artifact" / "model.onnx.data").write_bytes(weights.astype(np.float32).tobytes())
    (tmp_path / "runtime" / "runtime.json").write_text('{"formatVersion": 1, "file": "model.onnx"}')
    job: Job = run_stage(Package(how=how), {name: tmp_path / name for name in ("artifact", "runtime")})
    return job


@pytest.mark.parametrize("how", WAYS, ids=lambda how: how.compression)
def test_every_file_is_compressed_and_comes_back(run_stage: Any, tmp_path: Path, how: Any) -> None:
    job = packaged(run_stage, tmp_path, how)
    suffix = {"gzip": "gz", "xz": "xz", "zstd": "zst"}[how.compression]
    names = [path.name for path in sorted(job.output("artifact").iterdir())]
    assert names == [f"model.onnx.data.{suffix}", f"model.onnx.{suffix}"]
    runtime = json.loads((job.output("runtime") / "runtime.json").read_text())
    assert (runtime["formatVersion"], runtime["file"]) == (1, "model.onnx")
    first = runtime["package"]["files"][0]
    source = tmp_path / "artifact" / "model.onnx"
    assert first == {
        "path": "model.onnx", "packed": f"model.onnx.{suffix}", "size": 500, "sha256": digest.of_file(source),
    }  # fmt: skip
    metrics = json.loads((job.output("metrics") / "package.json").read_text())["metrics"]
    assert metrics["unpacked_size"] == 500 + 80_000
    assert metrics["size"] == sum(path.stat().st_size for path in job.output("artifact").iterdir()) < 0.35 * 80_500
    assert job.warnings == []
    folder = tmp_path / "published"
    job.output("artifact").rename(folder)
    (folder / "runtime.json").write_text(json.dumps(runtime))
    place = packed.opened(folder, tmp_path / "place")
    for path in (tmp_path / "artifact").iterdir():
        assert (place / path.name).read_bytes() == path.read_bytes()


def test_what_saves_nothing_is_said(run_stage: Any, tmp_path: Path) -> None:
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "model.onnx").write_bytes(np.random.default_rng(0).bytes(1000))
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime" / "runtime.json").write_text("{}")
    inputs = {name: tmp_path / name for name in ("artifact", "runtime")}
    job = run_stage(Package(how=WAYS[0]), inputs)
    assert [w.code for w in job.warnings] == ["MS557"]


def test_a_folder_without_compression_is_opened_as_it_is(tmp_path: Path) -> None:
    assert packed.opened(tmp_path, tmp_path / "place") == tmp_path
    (tmp_path / "runtime.json").write_text('{"device": "cpu"}')
    assert packed.opened(tmp_path, tmp_path / "place") == tmp_path


@pytest.mark.parametrize("change", [
    {"path": "../out"}, {"packed": "/etc/passwd"}, {"path": "a/b"}, {"size": -1}, {"size": 1.5}, {"sha256": "x"},
    {"path": ".."}, {"path": ""}, {"packed": None},
])  # fmt: skip
def test_a_description_that_makes_no_sense_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    file = {"path": "model.onnx", "packed": "model.onnx.gz", "size": 1, "sha256": "a" * 64, **change}
    text = json.dumps({"package": {"compression": "gzip", "files": [file]}})
    (tmp_path / "runtime.json").write_text(text)
    with pytest.raises(ModelspecError) as caught:
        packed.opened(tmp_path, tmp_path / "place")
    assert caught.value.diagnostics[0].code == "MS604"


def test_what_is_keyed() -> None:
    gzip, xz, zstd = (Package(how=how) for how in WAYS)
    assert gzip.keyed() == {"compression": "gzip", "level": 9}
    assert (zstd.distributions(), xz.distributions()) == (("zstandard",), ())
    assert (gzip.depends_on(), xz.depends_on(), zstd.depends_on()) == (("zlib",), ("liblzma",), ())
    assert gzip.promised() is Determinism.EXACT
