"""Damages a published folder, the way a disk, a colleague or an attacker would."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from modelspec import digest

Edit = Callable[[Any], object]


def flip(path: Path, at: int = -1) -> None:
    """Another bit in one byte."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def edit_json(path: Path, edit: Edit) -> None:
    """Change a JSON file as modelspec would write it."""
    value = json.loads(path.read_bytes())
    edit(value)
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def seal(dist: Path) -> None:
    """Make every recorded digest agree with the files as they are now: checksums.txt, and all of build.json."""
    sums = dist / "checksums.txt"
    was = {line[66:]: line[:64] for line in sums.read_text().splitlines()}
    now = {path: digest.of_file(dist / path) for path in was}
    sums.write_text(digest.sums((sha256, path) for path, sha256 in now.items()))
    build = (dist / "build.json").read_text()
    for path, sha256 in was.items():
        build = build.replace(sha256, now[path])
    (dist / "build.json").write_text(build)
    edit_json(dist / "build.json", lambda value: value.update(checksums=digest.of_file(sums)))


def change_weight(model: Path, name: str, by: float | None = None) -> None:
    """Add to the first number of an initializer; without an amount, go to the next float there is."""
    proto = onnx.load(model)
    tensor = next(one for one in proto.graph.initializer if one.name == name)
    array = numpy_helper.to_array(tensor).copy()
    first = array.reshape(-1)
    first[0] = np.nextafter(first[0], np.float32(9)) if by is None else first[0] + by
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    onnx.save(proto, model)


def first_weight(model: Path) -> str:
    """The name of the model's first float initializer of two dimensions."""
    found = onnx.load(model).graph.initializer
    return next(t.name for t in found if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 2)


def plant_link(path: Path, target: Path) -> None:
    """A link where the file was, to a file of the same bytes."""
    target.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(target)
