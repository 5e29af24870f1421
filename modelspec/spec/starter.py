"""The model.yaml that a project begins with: commented, and valid once the files it names are there."""

import json
import os
import re
from pathlib import Path

from modelspec import toolchain
from modelspec.errors import fail
from modelspec.signature import Signature, TensorSpec

SCHEMA_FILE = ".modelspec.schema.json"

_HEAD = """\
# yaml-language-server: $schema={schema}
# What this model is, what it must satisfy, and where it must run. Check it: modelspec validate; build it: modelspec build
apiVersion: modelspec/v1
name: {name}
version: "0.1.0"                     # a semantic version, in quotes
"""

_SOURCES = {
    "onnx": "source: {framework: onnx, artifact: model.onnx}\n",
    "sklearn": "source: {framework: sklearn, artifact: model.skops}   # written by skops.io.dump\n",
    "pytorch": """\
source:
  framework: pytorch
  entrypoint: "model.py:build"       # file.py:callable; returns the module
  weights: weights.safetensors
signature:
  inputs:                            # in the order of forward's arguments; a name is an axis of any size
    image: {dtype: float32, shape: [batch, 1, 8, 8], range: [0, 1]}
  outputs:
    logits: {dtype: float32, shape: [batch, 10]}
""",
}

_TAIL = """\
targets:
  - {device: cpu}                    # fp32
  # - {device: cpu, precision: int8}

# Named data sets, and a limit that a build must keep:
# data:
#   test: {path: test.npz, labels: label}
# evaluate:
#   data: test
#   metrics: [accuracy]
#   gates:
#     - {metric: accuracy, min: 0.9, max_drop: 0.01}    # max_drop: against the source model

# benchmark: {batch: 1}              # latency_p95 and throughput, for gates and for build.json
# card: {description: "...", license: Apache-2.0}
"""


def example(framework: str) -> str:
    """A spec to fill in, for a source in this framework."""
    source = _SOURCES.get(framework, f"source: {{framework: {framework}}}\n")
    return _HEAD.format(schema=SCHEMA_FILE, name="my-model") + source + _TAIL


def from_onnx(model: Path, folder: Path) -> str:
    """A spec for an ONNX file, with its inputs and outputs written out. Raises MS401, MS325 or what reading it raises."""
    if not model.is_file():
        raise fail("MS325", f"--from: {str(model)!r} is not a file", help="name an ONNX file")
    absent = toolchain.missing(["onnx"])
    if absent:
        raise fail(
            "MS401",
            "reading an ONNX model needs onnx, which is not installed",
            help="pip install 'modelspec-build[onnx]'",
        )
    artifact = os.path.relpath(model.resolve(), folder.resolve()).replace(os.sep, "/")
    if artifact.startswith("../"):
        raise fail(
            "MS325", f"{str(model)!r} lies outside {str(folder)!r}", help="copy it below the folder of model.yaml"
        )
    from modelspec.formats import onnx_model
    from modelspec.spec.yaml import parse

    signature = onnx_model.signature_of(onnx_model.read(model))
    name = re.sub(r"[^a-z0-9]+", "-", model.stem.lower()).strip("-")[:63].strip("-") or "my-model"
    source = f"source: {{framework: onnx, artifact: {_text(artifact)}}}\n"
    head = _HEAD.format(schema=SCHEMA_FILE, name=name) + source
    whole = head + _signature(signature) + _TAIL
    # Names that no spec may hold, or too many of them: the signature is inferred where it is left out.
    return head + _TAIL if parse(whole.encode()).problems else whole


def _signature(signature: Signature) -> str:
    rows = ["signature:                           # read from the model; add range: [0, 1] where values are bounded"]
    for side, tensors in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        if tensors:
            rows += [f"  {side}:", *(f"    {_text(name)}: {_tensor(tensor)}" for name, tensor in tensors.items())]
    return "\n".join(rows) + "\n" if len(rows) > 1 else ""


def _tensor(tensor: TensorSpec) -> str:
    shape = ", ".join(_text(axis) if isinstance(axis, str) else str(axis) for axis in tensor.shape)
    return f"{{dtype: {tensor.dtype}, shape: [{shape}]}}"


def _text(text: str) -> str:
    """A string as a YAML scalar."""
    from modelspec.spec.scalars import RefusedNumberError, resolve

    try:
        plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", text) is not None and resolve(text) == text
    except RefusedNumberError:
        plain = False
    return text if plain else json.dumps(text, ensure_ascii=True)
