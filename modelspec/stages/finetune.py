"""Trains the source further on data: what pruning took away in accuracy comes back."""

import json
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field

from modelspec.framework import Framework
from modelspec.options import Entrypoint, Params
from modelspec.signature import Signature
from modelspec.stage import Determinism, Job, Request, Stage
from modelspec.stages._finetune_options import Augment, EarlyStopping, Loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from modelspec.stages._finetune_data import Samples

    Array = NDArray[Any]

_LOSSES: dict[str, Loss] = {"classification": "cross_entropy", "regression": "mse", "embedding": "source"}
"""What is minimised for each task, where `loss` is left out."""


class Finetune(Stage):
    """changes (if pruned) + data -> changes."""

    name: ClassVar[str] = "finetune"
    summary: ClassVar[str] = "train the source further, so that it recovers what pruning took"
    revision: ClassVar[int] = 1
    after: ClassVar[tuple[str, ...]] = ("prune",)
    gives: ClassVar[tuple[str, ...]] = ("changes", "metrics")
    parts: ClassVar[tuple[str, ...]] = ("framework", "signature")
    packages: ClassVar[tuple[str, ...]] = ("numpy",)
    imports: ClassVar[tuple[str, ...]] = ("numpy",)
    facts: ClassVar[tuple[str, ...]] = ("arch", "isa")
    determinism: ClassVar[Determinism] = Determinism.NUMERIC

    data: str = Field(description="The data set to train on; never that of the evaluation.", examples=["train"])
    epochs: int = Field(10, ge=1, description="How often all samples are seen.", examples=[5])
    learning_rate: float = Field(3e-3, gt=0, description="Size of the steps, at their largest.", examples=[1.0e-3])
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="Whether the steps become smaller, down to none.", examples=["constant"]
    )
    batch_size: int = Field(32, ge=1, description="Samples in a step.", examples=[64])
    seed: int = Field(0, ge=0, lt=2**63, description="What all that is drawn follows from.", examples=[0])
    threads: int = Field(
        1, ge=1, le=1024, description="Threads to compute with; another number gives other weights.", examples=[4]
    )
    optimizer: Literal["adamw", "adam", "sgd"] = Field(
        "adamw", description="How a step follows from the gradients.", examples=["sgd"]
    )
    weight_decay: float = Field(0.0, ge=0, description="Pull of all weights towards zero.", examples=[0.01])
    l1: float = Field(0.0, ge=0, description="Factor of the sum of all weights' sizes in the loss.", examples=[1.0e-5])
    loss: Loss | None = Field(
        None,
        description="What is minimised; told from the task of the evaluation or the labels. `source`: the difference from "
        "what the source itself answers, for which no labels are needed.",
        examples=["cross_entropy"],
    )
    output: str | None = Field(None, description="The output to train, if there are several.", examples=["logits"])
    dropout: float | None = Field(
        None, ge=0, lt=1, description="Share that the module's dropout layers leave out.", examples=[0.1]
    )
    class_weights: Literal["balanced"] | tuple[float, ...] | None = Field(
        None,
        description="Factor of each class in the loss; balanced: the rarer, the larger.",
        examples=["balanced", [1.0, 5.0]],
    )
    resample: Literal["balanced"] | None = Field(
        None, description="Draw samples so that each class is seen as often as others.", examples=["balanced"]
    )
    augment: Augment | None = Field(None, description="Changes to the inputs.", examples=[{"noise": 0.05}])
    early_stopping: EarlyStopping | None = Field(
        None, description="End when other data say so, with the best weights.", examples=[{"patience": 3}]
    )
    trainer: Entrypoint | None = Field(
        None,
        description="Replaces the loop: file.py:callable, which takes the module, the inputs by name and the labels as "
        "arrays, and a dictionary of epochs, learning_rate, batch_size, weight_decay, seed and threads; it returns the "
        "module, or None when it trained it in place.",
        examples=["train.py:recover"],
    )
    params: Params = Field(
        default_factory=dict, description="Further keyword arguments of the trainer.", examples=[{"steps": 100}]
    )

    @classmethod
    def configure(cls, request: Request) -> Self | None:
        """Loss and output as written, else as the evaluation has them."""
        block: Self | None = request.blocks.get(cls.name)
        evaluation = request.blocks.get("evaluate")
        if block is None or block.trainer is not None or evaluation is None or evaluation.data is None:
            return block
        task = evaluation.told_task()
        told = {"loss": block.loss or _LOSSES.get(task), "output": block.output or evaluation.output}
        return block.model_copy(update=told)

    def entrypoints(self) -> tuple[str, ...]:
        return (self.trainer,) if self.trainer else ()

    def keyed(self) -> dict[str, Any]:
        """Without the names of the data sets."""
        value = {name: option for name, option in super().keyed().items() if name != "data"}
        stopping = value["early_stopping"]
        return {**value, "early_stopping": stopping and {k: v for k, v in stopping.items() if k != "data"}}

    def inputs(self, request: Request) -> dict[str, str]:
        found = {"data": f"data:{self.data}"}
        if self.early_stopping and self.early_stopping.data:
            found["validation"] = f"data:{self.early_stopping.data}"
        return {**found, "changes": "changes"} if "prune" in request.blocks else found

    def run(self, job: Job) -> None:
        """Write the trained weights, and loss and metric of every epoch. Raises MS534 for what cannot be trained."""
        from modelspec.stages import _finetune_loop as loop
        from modelspec.stages._prune_module import write

        framework = job.framework
        assert framework is not None
        module = framework.load(job.files)
        signature = framework.signature(module, job.signature)
        recipe: dict[str, Any] = {"attributes": {}, "masked": [], "removed": {}}
        if job.has("changes"):
            recipe = json.loads((job.input("changes") / "changes.json").read_text())
            module = framework.revive(module, job.input("changes"))
        samples = None if self.trainer else self._samples(job, framework, signature)
        with loop.pinned(self.threads, self.seed):
            masks = loop.masks(module, recipe["masked"])
            if samples is not None:
                history, best = loop.train(self, module, samples, masks, framework, signature)
            else:
                loop.by_user(self, module, job, signature)
                history, best = [], 0
        loop.mask(module, masks)
        loop.require_sound(module)
        write(module.eval(), recipe, job.output("changes"))
        value: dict[str, Any] = {"metrics": {}, "trainer": self.trainer}
        if samples is not None:
            value = {"metrics": {}, "loss": samples.train.loss, "samples": len(samples.train), "best_epoch": best}
            value["history"] = history
        (job.output("metrics") / "finetune.json").write_text(json.dumps(value, indent=2) + "\n")

    def _samples(self, job: Job, framework: Framework, signature: Signature) -> "Samples":
        """What to train on and what to watch, each with what the answers should be."""
        from modelspec.feed import read_inputs
        from modelspec.stages import _finetune_data as data

        source = framework.load(job.files)
        sets = {}
        for slot in ("data", "validation"):
            if job.has(slot):
                inputs, labels = read_inputs(job.input(slot), signature)
                sets[slot] = data.answers(source, framework, signature, inputs, labels, self)
        return data.Samples.of(sets["data"], sets.get("validation"), self)
