"""The first rows of a data set: what models are compared on, small enough to publish a part of."""

import json
from typing import Any, ClassVar, Self

from pydantic import Field

from modelspec.stage import Determinism, Job, Request, Stage

ROWS = 32


class Sample(Stage):
    """data -> its first rows. Rows beyond them can change without a new conversion."""

    name: ClassVar[str] = "sample"
    summary: ClassVar[str] = "take the first rows of a data set"
    revision: ClassVar[int] = 1
    takes: ClassVar[tuple[str, ...]] = ("data",)
    gives: ClassVar[tuple[str, ...]] = ("sample",)
    provides: ClassVar[str] = "sample"
    packages: ClassVar[tuple[str, ...]] = ("numpy",)
    imports: ClassVar[tuple[str, ...]] = ("numpy",)
    determinism: ClassVar[Determinism] = Determinism.EXACT
    block: ClassVar[Any] = False

    rows: int = Field(ROWS, ge=1, description="How many rows.", examples=[ROWS])
    data: str = Field("", exclude=True, description="The data set.", examples=["test"])

    @classmethod
    def provide(cls, request: Request, dataset: str) -> Self:
        convert = request.blocks.get("convert")
        rows = convert.parity.samples if convert is not None else ROWS
        return cls(rows=rows, data=dataset)

    def inputs(self, request: Request) -> dict[str, str]:
        return {"data": f"data:{self.data}"}

    def run(self, job: Job) -> None:
        """Write the same two files with fewer rows."""
        import shutil

        from modelspec.formats import npz

        source, target = job.input("data"), job.output("sample")
        said = json.loads((source / "data.json").read_text())
        if said["rows"] <= self.rows:
            for name in ("data.npz", "data.json"):
                shutil.copyfile(source / name, target / name)
            return
        arrays = npz.read(source / "data.npz")
        npz.write(target / "data.npz", {name: array[: self.rows] for name, array in arrays.items()})
        (target / "data.json").write_text(json.dumps({**said, "rows": self.rows}) + "\n")
