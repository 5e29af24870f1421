"""Runs the source model itself over a data set: what accuracy is measured against."""

from typing import Any, ClassVar, Self

from pydantic import Field

from modelspec.stage import Determinism, Job, Request, Stage

BATCH = 64
"""Samples at once: bounds the memory, whatever the size of the set."""


class Reference(Stage):
    """data -> outputs.npz of the source."""

    name: ClassVar[str] = "reference"
    summary: ClassVar[str] = "run the source model over a data set"
    revision: ClassVar[int] = 1
    takes: ClassVar[tuple[str, ...]] = ("data",)
    gives: ClassVar[tuple[str, ...]] = ("reference",)
    provides: ClassVar[str] = "reference"
    parts: ClassVar[tuple[str, ...]] = ("framework", "signature")
    packages: ClassVar[tuple[str, ...]] = ("numpy",)
    imports: ClassVar[tuple[str, ...]] = ("numpy",)
    facts: ClassVar[tuple[str, ...]] = ("arch", "isa")
    determinism: ClassVar[Determinism] = Determinism.NUMERIC
    block: ClassVar[Any] = False

    data: str = Field("", exclude=True, description="The data set.", examples=["test"])

    @classmethod
    def provide(cls, request: Request, dataset: str) -> Self:
        return cls(data=dataset)

    def inputs(self, request: Request) -> dict[str, str]:
        return {"data": f"data:{self.data}"}

    def run(self, job: Job) -> None:
        """Write the outputs, in the order of the samples."""
        from modelspec.feed import answered, batch_size, read_inputs
        from modelspec.formats import npz

        framework = job.framework
        assert framework is not None
        model = framework.load(job.files)
        signature = framework.signature(model, job.signature)
        inputs, _ = read_inputs(job.input("data"), signature)
        size = batch_size(signature, BATCH)
        outputs = answered(lambda batch: framework.run(model, signature, batch), inputs, size)
        npz.write(job.output("reference") / "outputs.npz", outputs)
