"""Has an engine built by a process of its own, so that no CUDA context is ever inherited, and writes its record."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from modelspec import nvidia
from modelspec.engines import masked, profile, record
from modelspec.engines.record import Device, Recipe, Record
from modelspec.errors import fail

DEADLINE_S = 3600.0
SHOWN = 5
"""Reasons of a refusal that its message names."""


def build(recipe: Recipe, model: Path, artifact: Path, timing: Path | None = None) -> Record:
    """Write the engine and its record into `artifact`. Raises MS390, MS420 or MS581."""
    require_shapes(recipe, model)
    with TemporaryDirectory(dir=artifact.parent) as folder:
        order = {
            "recipe": recipe.model_dump(mode="json"),
            "model": str(model),
            "out": folder,
            "timing": timing and str(timing),
        }
        _run(order)
        answer = json.loads((Path(folder) / "answer.json").read_bytes())
        if refused := answer.get("refused"):
            raise _refusal(recipe, refused)
        for made in (path for path in Path(folder).iterdir() if path.name != "answer.json"):
            made.replace(artifact / made.name)
    gpu = nvidia.first() if recipe.module == "tensorrt" else None
    found = Record(
        state="built", recipe=recipe, version=answer["version"], inspected=answer["inspected"],
        device=Device(**vars(gpu)) if gpu else None, content=masked.content(artifact / record.PLAN),
        tactics=answer["tactics"],
    )  # fmt: skip
    record.write(found, artifact)
    return found


def require_shapes(recipe: Recipe, model: Path) -> None:
    """Raise MS390 unless the profile fits the inputs of the model."""
    from modelspec.formats import onnx_model

    inputs = {name: tensor.shape for name, tensor in onnx_model.signature_of(onnx_model.read(model)).inputs.items()}
    for problem in profile.problems(inputs, recipe.profile):
        raise fail("MS390", problem.text, help=problem.help, path=("shapes",))


def _run(order: Mapping[str, object]) -> None:
    command = [sys.executable, "-P", "-m", "modelspec.engines.process"]
    try:
        done = subprocess.run(  # noqa: S603 - our own module; the order goes through a pipe
            command, input=json.dumps(order), stdout=sys.stderr.fileno(), text=True, timeout=DEADLINE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise fail("MS520", f"the builder took more than {DEADLINE_S:.0f} s", help="use a smaller level") from error
    if done.returncode < 0:
        # What ended the child ends this process too: whoever watches it can tell a crash from a lack of memory.
        os.kill(os.getpid(), -done.returncode)
    if done.returncode:
        raise fail("MS581", "the builder of engines died before it could say why", help="see its log")


def _refusal(recipe: Recipe, reasons: list[str]) -> Exception:
    name = record.DISTRIBUTIONS[recipe.module]
    shown = "; ".join(reasons[:SHOWN]) + (f"; and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else "")
    return fail(
        "MS581",
        f"{name} refuses the model: {shown}",
        help="leave the nodes at fault in fp32, or use another precision; the log has all that it said",
    )
