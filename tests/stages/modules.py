"""What the tests of prune and finetune share: a module of `nets.py` as a source, with what stages make of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modelspec.errors import Diagnostic, ModelspecError
from modelspec.formats import safetensors_file
from modelspec.frameworks.pytorch import Pytorch
from modelspec.signature import Signature, TensorSpec
from modelspec.stage import Job, Stage
from modelspec.stages.finetune import Finetune

Array = np.ndarray[Any, Any]
NETS = Path(__file__).parent / "nets.py"
IMAGE = Signature(inputs={"image": TensorSpec(dtype="float32", shape=("batch", 1, 8, 8))})


def code(folder: Path) -> Path:
    """A folder with the user's code."""
    (folder / "code").mkdir(parents=True)
    shutil.copy(NETS, folder / "code")
    return folder / "code"


def source(net: str, **params: Any) -> Pytorch:
    """The module, with seeded weights."""
    return Pytorch(framework="pytorch", entrypoint=f"nets.py:{net}", params=params)


def work(run_stage: Any, tmp_path: Path, stage: Stage, net: str, **inputs: Path) -> Job:
    """Run a stage on a module."""
    folder = tmp_path / "code"
    made = {"code": folder if folder.is_dir() else code(tmp_path), **inputs}
    job: Job = run_stage(stage, made, framework=source(net), signature=IMAGE)
    return job


def report(job: Job) -> dict[str, Any]:
    """What the stage says it did."""
    (file,) = job.output("metrics").iterdir()
    return dict(json.loads(file.read_text()))


def revived(job: Job) -> torch.nn.Module:
    """The module that `convert` exports."""
    assert job.framework is not None
    module = job.framework.revive(job.framework.load(job.files), job.output("changes"))
    assert isinstance(module, torch.nn.Module)
    return module


def answers(module: torch.nn.Module, rows: int = 3) -> Array:
    """The first output for seeded images."""
    image = torch.rand(rows, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = module(image)
    return np.asarray((found[0] if isinstance(found, tuple) else found).numpy())


def digits() -> tuple[Array, Array, Array, Array]:
    """Images and digits to train on, and others to judge by."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.images))
    image = (found.images[order, None] / 16).astype(np.float32)
    return image[:1200], found.target[order][:1200], image[1200:], found.target[order][1200:]


def finetune(run_stage: Any, tmp_path: Path, net: str, data: Path, *, more: dict[str, Path] | None = None,
             **options: Any) -> Job:  # fmt: skip
    """Run the stage; `more`: further inputs."""
    stage = Finetune(data="train", **options)
    return work(run_stage, tmp_path, stage, net, data=data, **(more or {}))


def untrained(*arguments: Any, **options: Any) -> Diagnostic:
    """The one problem for which the stage refuses."""
    with pytest.raises(ModelspecError) as caught:
        finetune(*arguments, **options)
    (problem,) = caught.value.diagnostics
    return problem


def weights(job: Job) -> dict[str, torch.Tensor]:
    """What is written."""
    return safetensors_file.read(job.output("changes") / "weights.safetensors")
