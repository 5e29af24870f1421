"""Compares the files of one target, as published and as rebuilt, by what they mean."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from modelspec.engines.masked import content
from modelspec.errors import ModelspecError
from modelspec.formats import compressed
from modelspec.meaning.verdict import FileVerdict, Finding, Tolerance, Verdict, judged
from modelspec.stage import Determinism, Job, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

Found = tuple[Verdict, tuple[Finding, ...]]


SIDES = ("published", "rebuilt")


class Difference(Stage):
    """published folder + rebuilt folder -> a verdict on each file whose bytes differ."""

    name: ClassVar[str] = "difference"
    summary: ClassVar[str] = "compare published files with rebuilt ones by what they mean"
    revision: ClassVar[int] = 3
    takes: ClassVar[tuple[str, ...]] = ("published", "rebuilt")
    gives: ClassVar[tuple[str, ...]] = ("report",)
    parts: ClassVar[tuple[str, ...]] = ("target",)
    imports: ClassVar[tuple[str, ...]] = ("numpy",)
    determinism: ClassVar[Determinism] = Determinism.NUMERIC
    block: ClassVar[Any] = False

    files: tuple[str, ...]
    """Paths inside both folders."""
    tolerant: tuple[str, ...] = ()
    """Those of them whose numbers may lie within the tolerance."""
    rtol: float
    atol: float

    def run(self, job: Job) -> None:
        """Write report.json: the verdict and the findings of each file. What cannot be read is different."""
        found = [FileVerdict(name, *self._file(job, name)) for name in self.files]
        report = [{**asdict(one), "verdict": one.verdict.value} for one in found]
        (job.output("report") / "report.json").write_text(json.dumps(report))

    def _file(self, job: Job, name: str) -> Found:
        tolerance = Tolerance(self.rtol, self.atol, granted=name in self.tolerant)
        try:
            inner = compressed.unpacked_name(name)
            old, new = (_folder(job, side) / inner if inner else job.input(side) / name for side in SIDES)
            if (model := old.with_name(old.name.removesuffix(".data"))).suffix == ".onnx":
                return self._model(job, model.name, tolerance)
            if old.suffix == ".npz":
                return _arrays(old, new, tolerance)
            if old.suffix == ".json":
                return _json(old, new, tolerance)
            if old.suffix == ".plan" and content(old) == content(new):
                return Verdict.EQUIVALENT, ()
            return _text(old, new, tolerance)
        except UnicodeDecodeError:
            return self._other(job, tolerance)
        except (ModelspecError, ValueError, RecursionError) as error:
            reason = error.diagnostics[0].message if isinstance(error, ModelspecError) else str(error)
            return Verdict.DIFFERENT, (Finding("file", "", f"cannot be compared: {reason}"),)

    def _model(self, job: Job, name: str, tolerance: Tolerance) -> Found:
        """Graph and weights; where they are not the same, the answers on the golden inputs too."""
        from modelspec.formats import onnx_model
        from modelspec.meaning import arrays
        from modelspec.meaning.graph import outline
        from modelspec.meaning.values import leaves, shown

        (graph, weights), (new_graph, new_weights) = (
            outline(onnx_model.read(_folder(job, side) / name)) for side in SIDES
        )
        found = list(arrays.findings("initializer", weights, new_weights))
        found += [Finding("graph", path, f"{shown(a)} -> {shown(b)}") for path, a, b in leaves(graph, new_graph)]
        if not found:
            return Verdict.EQUIVALENT, ()
        shared = weights.keys() & new_weights.keys()
        close = arrays.all_close(
            {name: weights[name] for name in shared}, {name: new_weights[name] for name in shared}, tolerance
        )
        outputs, close_outputs = _outputs(job, tolerance)
        return judged([*found, *outputs], close=close and close_outputs, tolerance=tolerance)

    def _other(self, job: Job, tolerance: Tolerance) -> Found:
        """A file of a device: nothing is known of it but how it answers."""
        outputs, close = _outputs(job, tolerance)
        found = [Finding("file", "", "the bytes differ"), *outputs]
        return judged(found, close=close, tolerance=tolerance)


def _folder(job: Job, side: str) -> Path:
    """The files of one side as a target opens them."""
    from modelspec.formats import packed

    return packed.opened(job.input(side), job.root / "unpacked" / side)


def _outputs(job: Job, tolerance: Tolerance) -> tuple[list[Finding], bool]:
    """What the two artifacts answer to the golden inputs of the published one, and whether the tolerance holds."""
    from modelspec.formats import npz
    from modelspec.meaning import arrays
    from modelspec.tokenizer import as_published

    target = job.target
    assert target is not None
    try:
        inputs = npz.read(job.input("published") / "golden" / "inputs.npz")
        old, new = (
            as_published(target.open_session(_folder(job, side)), job.input(side)).run(inputs) for side in SIDES
        )
    except ModelspecError as error:
        return [Finding("output", "", f"the outputs cannot be compared: {error.diagnostics[0].message}")], False
    return list(arrays.findings("output", old, new)), arrays.all_close(old, new, tolerance)


def _arrays(old: Path, new: Path, tolerance: Tolerance) -> Found:
    from modelspec.formats import npz
    from modelspec.meaning import arrays

    a, b = npz.read(old), npz.read(new)
    return judged(arrays.findings("array", a, b), close=arrays.all_close(a, b, tolerance), tolerance=tolerance)


def _json(old: Path, new: Path, tolerance: Tolerance) -> Found:
    from modelspec.formats import packed
    from modelspec.meaning.values import compare_json

    # What the compressed files hold is compared itself: here its digests would be differences without a meaning.
    a, b = (packed.without_contents(json.loads(path.read_bytes())) for path in (old, new))
    return compare_json(a, b, tolerance)


def _text(old: Path, new: Path, tolerance: Tolerance) -> Found:
    from modelspec.meaning.values import compare_text

    return compare_text(old.read_bytes().decode(), new.read_bytes().decode(), tolerance)
