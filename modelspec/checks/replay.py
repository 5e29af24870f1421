"""Runs a published artifact on its golden inputs, and compares the answers with the golden outputs."""

import json
from typing import TYPE_CHECKING, Any, ClassVar

from modelspec.stage import Determinism, Job, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


class Replay(Stage):
    """artifact + golden files -> how far the answers are from the recorded ones."""

    name: ClassVar[str] = "replay"
    summary: ClassVar[str] = "run a published artifact on its golden inputs"
    revision: ClassVar[int] = 1
    takes: ClassVar[tuple[str, ...]] = ("artifact",)
    gives: ClassVar[tuple[str, ...]] = ("report",)
    parts: ClassVar[tuple[str, ...]] = ("target",)
    imports: ClassVar[tuple[str, ...]] = ("numpy",)
    determinism: ClassVar[Determinism] = Determinism.NUMERIC
    block: ClassVar[Any] = False

    rtol: float
    atol: float

    def run(self, job: Job) -> None:
        """Write report.json. Raises MS504, MS509, MS513 or MS613 for what cannot be read or run."""
        from modelspec.compare import compare
        from modelspec.formats import npz, onnx_model, packed
        from modelspec.meaning.arrays import same_bits
        from modelspec.tokenizer import as_published

        target, folder = job.target, job.input("artifact")
        assert target is not None
        artifact = packed.opened(folder, job.root / "unpacked")
        for path in sorted(artifact.glob("*.onnx")):
            onnx_model.read(path)  # the runtime would follow external data wherever they are said to be
        inputs, expected = (npz.read(folder / "golden" / f"{side}.npz") for side in ("inputs", "outputs"))
        found = _plain(as_published(target.open_session(artifact), folder).run(inputs))
        bits = {name: name in found and same_bits(array, found[name]) for name, array in expected.items()}
        compared = compare(expected, found, self.rtol, self.atol).outputs
        report = {
            "unmatched": sorted(expected.keys() ^ found.keys()),
            "outputs": [
                {"name": o.name, "exact": bits[o.name], "mismatched": o.mismatched, "total": o.total, "max_abs": o.max_abs}
                for o in compared
            ],
        }  # fmt: skip
        (job.output("report") / "report.json").write_text(json.dumps(report))


def _plain(outputs: "Arrays") -> "dict[str, NDArray[Any]]":
    """Text as the golden files hold it: of a fixed width, not as objects."""
    import numpy as np

    return {name: array.astype(np.str_) if array.dtype.kind == "O" else array for name, array in outputs.items()}
