"""Runs the artifact on a few sample inputs: the pair of files by which anyone can test it anywhere."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from modelspec.errors import fail
from modelspec.stage import Determinism, Job, Request, Stage, measured

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

ROWS = 4
"""Enough to tell a broken model, few enough to publish."""


class Golden(Stage):
    """artifact + samples -> golden inputs and outputs."""

    name: ClassVar[str] = "golden"
    summary: ClassVar[str] = "record sample inputs with the outputs of the built model"
    revision: ClassVar[int] = 1
    after: ClassVar[tuple[str, ...]] = ("compile", "processing")
    takes: ClassVar[tuple[str, ...]] = ("artifact", "samples", "signature")
    gives: ClassVar[tuple[str, ...]] = ("golden", "metrics")
    publishes: ClassVar[Mapping[str, str]] = {"golden": "golden"}
    parts: ClassVar[tuple[str, ...]] = ("target", "tokenizer")
    packages: ClassVar[tuple[str, ...]] = ("numpy",)
    facts: ClassVar[tuple[str, ...]] = ("arch", "isa")
    determinism: ClassVar[Determinism] = Determinism.NUMERIC
    block: ClassVar[Any] = False

    rtol: float = 1e-3
    atol: float = 1e-4

    @classmethod
    def configure(cls, request: Request) -> Self:
        """Always asked for, within the tolerance of the conversion."""
        convert = request.blocks.get("convert")
        return cls() if convert is None else cls(rtol=convert.parity.rtol, atol=convert.parity.atol)

    @classmethod
    def origin(cls, request: Request) -> tuple[str | int, ...]:
        return ("convert", "parity")

    def inputs(self, request: Request) -> dict[str, str]:
        return measured({slot: slot for slot in self.takes} | request.served, request)

    def run(self, job: Job) -> None:
        """Write the pair. Raises MS503 when a float artifact differs from the source, or any answers with NaN."""
        from modelspec.formats import npz

        target = job.target
        assert target is not None
        samples = job.input("samples")
        inputs, source = npz.read(samples / "inputs.npz"), npz.read(samples / "outputs.npz")
        found = job.open_session().run(inputs)
        self._check(source, found, exact=target.chosen_precision == "fp32")
        rows = _rows(inputs, json.loads((job.input("signature") / "signature.json").read_text()))
        shown = {name: array[:ROWS] for name, array in inputs.items()} if rows else inputs
        session = job.open_session()
        npz.write(job.output("golden") / "inputs.npz", shown)
        npz.write(job.output("golden") / "outputs.npz", session.run(shown))
        text = json.dumps({"metrics": {}, "samples": ROWS if rows else 1}) + "\n"
        (job.output("metrics") / "golden.json").write_text(text)

    def _check(self, source: "Arrays", found: "Arrays", *, exact: bool) -> None:
        import numpy as np

        from modelspec.compare import compare

        for name, expected in source.items():
            if expected.dtype.kind == "f" and np.isnan(found[name]).sum() > np.isnan(expected).sum():
                raise fail(
                    "MS503",
                    f"the built model answers with NaN in {name!r} where the source does not",
                    help="leave more nodes in float: quantize exclude",
                )
            if not exact and not _alike(expected, found[name]):
                raise fail(
                    "MS503",
                    f"the built model's {name!r} is far from the source's: by more than half of its spread on average",
                    help="leave more nodes in float: quantize exclude; or use another precision",
                )
        if not exact:
            return
        for output in compare(source, found, self.rtol, self.atol).outputs:
            if output.mismatched:
                raise fail(
                    "MS503",
                    f"{output.words('the source')} (rtol {self.rtol:g}, atol {self.atol:g})",
                    help="if the difference is harmless, raise convert.parity",
                )


def _rows(inputs: "Arrays", signature: dict[str, Any]) -> bool:
    """Whether the first axis of every input is one and the same dynamic axis, so that rows can be left out."""
    first = {
        str(tensor["shape"][0]) if tensor["shape"] and isinstance(tensor["shape"][0], str) else ""
        for tensor in signature["inputs"]
    }
    return len(first) == 1 and "" not in first and bool(inputs)


def _alike(expected: "NDArray[Any]", found: "NDArray[Any]") -> bool:
    """Whether rounding can explain the difference; how much of it is too much, the gates say."""
    import numpy as np

    if expected.dtype.kind != "f" or expected.shape != found.shape or not expected.size:
        return expected.shape == found.shape
    sure = np.isfinite(expected) & np.isfinite(found)
    spread = float(np.ptp(expected[sure], axis=None)) if sure.any() else 0.0
    return spread == 0.0 or float(np.abs(expected - found)[sure].mean()) <= 0.5 * spread
