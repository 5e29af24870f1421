"""What is otherwise between two published builds, for whoever reviews the second: `modelspec diff`."""

import difflib
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelspec import digest
from modelspec.checks.graph import Graph
from modelspec.errors import ModelspecError, fail
from modelspec.execute.alone import Workers, workers
from modelspec.publication import BUILD
from modelspec.verify.record import BuildSaid, GateSaid, read_build

_TIMEOUT_S = 600.0
_INPUTS = {"fetch", "load", "sample"}
"""Stages whose outputs are what comes in from outside."""


@dataclass(frozen=True)
class Change:
    """One thing that is otherwise; None on the side where it is not there."""

    name: str
    old: str | float | None
    new: str | float | None


@dataclass(frozen=True)
class TargetReview:
    """What is otherwise in one target that both builds have."""

    label: str
    metrics: tuple[Change, ...]
    """All figures that either side has, whether they moved or not."""
    gates: tuple[Change, ...]
    operators: tuple[Change, ...]
    files: tuple[Change, ...]
    """Published files by their digest, without those of the manifests and the image's blobs."""
    image: Change | None
    manifests: tuple[str, ...]
    """The lines of a unified diff."""


@dataclass(frozen=True)
class Review:
    """Two builds."""

    old: str
    new: str
    spec_changed: bool
    tools: tuple[Change, ...]
    environment: tuple[Change, ...]
    inputs: tuple[Change, ...]
    stages: tuple[str, ...]
    """Stages whose results are others."""
    targets: tuple[TargetReview, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether both published the same files."""
        return not (self.added or self.removed or any(t.files or t.manifests or t.image for t in self.targets))


def review(old: Path, new: Path) -> Review:
    """Compare dist/<name>/<version> of two builds. Raises ModelspecError where one cannot be read."""
    for folder in (old, new):
        if not (folder / BUILD).is_file():
            raise fail("MS325", f"{folder} holds no {BUILD}", help="give the folder dist/<name>/<version> of a build")
    first, second = read_build(old), read_build(new)
    labels, others = list(first.metrics), list(second.metrics)
    both = [label for label in labels if label in others]
    with tempfile.TemporaryDirectory(prefix="modelspec-") as place, workers(Path(place) / "work", _TIMEOUT_S) as pool:
        targets = tuple(_target(label, (old, first), (new, second), pool) for label in both)
    before, after = _outputs(first), _outputs(second)
    changed = [name for name in dict.fromkeys((*before, *after)) if before.get(name) != after.get(name)]
    return Review(
        f"{first.name} {first.version}",
        f"{second.name} {second.version}",
        first.spec != second.spec,
        tuple(_changes(first.tools, second.tools)),
        tuple(_changes(first.environment, second.environment)),
        tuple(Change(n, before.get(n), after.get(n)) for n in changed if n.partition(":")[0] in _INPUTS),
        tuple(name for name in changed if name.partition(":")[0] not in _INPUTS),
        targets,
        tuple(label for label in others if label not in labels),
        tuple(label for label in labels if label not in others),
    )


def _changes(old: Mapping[str, str], new: Mapping[str, str]) -> Iterable[Change]:
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) != new.get(name):
            yield Change(name, old.get(name), new.get(name))


def _outputs(build: BuildSaid) -> dict[str, str]:
    """A digest of what each action gave."""
    return {a.label: digest.of_tree({o.path: o.sha256 for o in a.outputs})[:12] for a in build.actions}


Side = tuple[Path, BuildSaid]


def _target(label: str, old: Side, new: Side, pool: Workers) -> TargetReview:
    (before, first), (after, second) = old, new
    figures = [build.metrics[label] for build in (first, second)]
    gates = [{_gate_name(g): _verdict(g) for g in build.gates if g.target == label} for build in (first, second)]
    images = [build.images[label].digest if label in build.images else None for build in (first, second)]
    files = [_files(folder / label) for folder in (before, after)]
    return TargetReview(
        label,
        tuple(
            Change(name, *(side.get(name) for side in figures)) for name in dict.fromkeys((*figures[0], *figures[1]))
        ),
        tuple(_changes(*gates)),
        tuple(_operators(before / label, after / label, pool)) if files[0] != files[1] else (),
        tuple(_changes(*files)),
        Change("image", images[0], images[1]) if images[0] != images[1] else None,
        tuple(_manifests(before / label / "manifests", after / label / "manifests")),
    )


def _gate_name(gate: GateSaid) -> str:
    return f"{gate.metric} {gate.kind}"


def _verdict(gate: GateSaid) -> str:
    return f"{gate.written}, {'passed' if gate.passed else 'failed'}"


def _files(folder: Path) -> dict[str, str]:
    own = (name for name in digest.files_under(folder) if not name.startswith(("manifests/", "image/")))
    return {name: digest.of_file(folder / name)[:12] for name in own}


def _operators(old: Path, new: Path, pool: Workers) -> Iterable[Change]:
    """How many nodes of each operator there are, where that changed; nothing where a side cannot be read."""
    counts = []
    for folder in (old, new):
        files = {path.name: path for path in folder.glob("model.onnx*")}
        if "model.onnx" not in files:
            return
        try:
            made = pool.outputs(Graph(), f"operators of {folder}", {}, {"model": files}, ("onnx",))
        except ModelspecError:
            return
        counts.append(json.loads((made / "report" / "report.json").read_bytes()))
    for name in sorted({*counts[0], *counts[1]}):
        if counts[0].get(name, 0) != counts[1].get(name, 0):
            yield Change(name, counts[0].get(name, 0), counts[1].get(name, 0))


def _manifests(old: Path, new: Path) -> Iterable[str]:
    names = sorted({name for folder in (old, new) if folder.is_dir() for name in digest.files_under(folder)})
    for name in names:
        sides = [(folder / name).read_bytes() if (folder / name).is_file() else b"" for folder in (old, new)]
        if sides[0] == sides[1]:
            continue
        try:
            before, after = (side.decode().splitlines() for side in sides)
        except UnicodeDecodeError:
            yield f"{name} differs"
            continue
        yield from difflib.unified_diff(before, after, f"a/{name}", f"b/{name}", lineterm="", n=2)
