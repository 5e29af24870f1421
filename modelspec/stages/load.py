"""Reads one data set through its loader, so that every later stage sees one format."""

import json
from typing import TYPE_CHECKING, Any, ClassVar, Self

from modelspec.class_names import as_numbers
from modelspec.errors import fail
from modelspec.stage import Determinism, Job, Request, Stage

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Load(Stage):
    """Data set -> data.npz and data.json. Where texts are tokenized, both the texts and the tokens are in it."""

    name: ClassVar[str] = "load"
    summary: ClassVar[str] = "read a data set into named arrays"
    revision: ClassVar[int] = 1
    gives: ClassVar[tuple[str, ...]] = ("data",)
    provides: ClassVar[str] = "data"
    parts: ClassVar[tuple[str, ...]] = ("loader", "tokenizer", "classes")
    packages: ClassVar[tuple[str, ...]] = ("numpy",)
    imports: ClassVar[tuple[str, ...]] = ("numpy",)
    determinism: ClassVar[Determinism] = Determinism.EXACT
    block: ClassVar[Any] = False

    @classmethod
    def provide(cls, request: Request, dataset: str) -> Self:
        return cls()

    def run(self, job: Job) -> None:
        """Write all arrays, with the number of rows and the name of the labels; and what a tokenizer makes of texts."""
        from modelspec.formats import npz
        from modelspec.stages._load_text import with_tokens

        loader = job.loader
        assert loader is not None
        arrays = loader.load(job.files)
        count = _rows(arrays)
        if loader.labels is not None and loader.labels not in arrays:
            raise fail(
                "MS509",
                f"the data set has no array {loader.labels!r} for the labels; it has {', '.join(arrays)}",
                help="correct `labels`",
                path=("labels",),
            )
        if loader.samples is not None:
            if loader.samples > count:
                job.warn(
                    "MS554", f"{loader.samples} samples were asked for and the data set has {count}", path=("samples",)
                )
            count = min(count, loader.samples)
            arrays = {name: array[:count] for name, array in arrays.items()}
        said: dict[str, Any] = {"labels": loader.labels, "rows": count}
        if job.tokenizer:
            arrays, said["text"] = with_tokens(job, arrays, loader.labels)
        if job.classes and loader.labels is not None:
            arrays[loader.labels] = as_numbers(arrays[loader.labels], job.class_names)
        folder = job.output("data")
        npz.write(folder / "data.npz", arrays)
        (folder / "data.json").write_text(json.dumps(said) + "\n")


def _rows(arrays: "dict[str, NDArray[Any]]") -> int:
    if not arrays:
        raise fail("MS509", "the data set holds no arrays", help="give it at least the inputs of the model")
    if scalar := next((name for name, array in arrays.items() if array.ndim == 0), None):
        raise fail(
            "MS509", f"the array {scalar!r} has no axis of samples", help="stack the samples along the first axis"
        )
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) != 1:
        raise fail(
            "MS509",
            f"the arrays disagree on the number of samples: {counts}",
            help="make the first axis of every array the sample",
        )
    if not (count := next(iter(counts.values()))):
        raise fail("MS509", "the data set has no samples", help="give it at least one")
    return count
