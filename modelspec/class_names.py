"""The `labels` of `processing`: the names of the classes, one a line, in the order of the model's scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from modelspec.errors import ModelspecError, fail
from modelspec.options import Options
from modelspec.remote import ProjectFile
from modelspec.words import closest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

MAX_FILE = 4 << 20


class ClassNames(Options):
    """A text file, as a part of what depends on it."""

    paths: ClassVar[tuple[str, ...]] = ("labels",)

    labels: ProjectFile = Field(description="The file.", examples=["labels.txt"])

    def read(self, file: Path) -> tuple[str, ...]:
        """The names. Raises MS526 for what is no list of different names."""
        data = file.read_bytes() if file.stat().st_size <= MAX_FILE else b""
        try:
            names = tuple(line.strip() for line in data.decode("utf-8-sig").removesuffix("\n").split("\n"))
        except UnicodeDecodeError as error:
            raise _wrong(f"{file.name} is not UTF-8 text") from error
        seen: dict[str, int] = {}
        for number, name in enumerate(names, 1):
            if not name or not name.isprintable():
                raise _wrong(f"line {number} of {file.name} is no name")
            if name in seen:
                raise _wrong(f"lines {seen[name]} and {number} of {file.name} are both {name!r}")
            seen[name] = number
        if len(names) < 2:
            raise _wrong(f"{file.name} names one class alone")
        return names


def _wrong(message: str) -> ModelspecError:
    fix = "write the name of each class on a line of its own, in the order of the model's scores"
    return fail("MS526", message, help=fix, path=("classes", "labels"))


def as_numbers(answers: "Array", names: tuple[str, ...]) -> "Array":
    """Labels that are names as places among the classes; others as they are. Raises MS526 for a name that is no class."""
    import numpy as np

    if answers.dtype.kind != "U":
        return answers
    places = {name: place for place, name in enumerate(names)}
    unknown = next((str(name) for name in answers.reshape(-1) if str(name) not in places), None)
    if unknown is not None:
        near = closest(unknown, names)
        fix = f"did you mean {near!r}?" if near else "add it to processing.labels, or correct the data"
        raise fail(
            "MS526", f"the label {unknown!r} is none of the {len(names)} class names", help=fix, path=("labels",)
        )
    return np.array([places[str(name)] for name in answers.reshape(-1)], np.int64).reshape(answers.shape)


def as_named(answers: "Array", names: tuple[str, ...]) -> "Array":
    """The inverse, for a model that answers in names itself."""
    import numpy as np

    is_place = answers.dtype.kind in "iu" and bool(((answers >= 0) & (answers < len(names))).all())
    return np.array(names)[answers] if is_place else answers


def named_outputs(outputs: "dict[str, Array]", names: tuple[str, ...]) -> tuple[str, ...]:
    """The outputs whose classes these are: scores of each, places, or one score for two. Raises MS526 where none is."""
    found = tuple(name for name, array in outputs.items() if _fits(array, len(names)))
    if not found:
        shapes = ", ".join(f"{name!r} {array.dtype} {list(array.shape)}" for name, array in outputs.items())
        raise fail("MS526", f"there are {len(names)} class names, and no output has as many classes: {shapes}",
                   help="name every class once, in the order of the model's scores", path=("classes", "labels"))  # fmt: skip
    return found


def _fits(array: "Array", count: int) -> bool:
    if array.dtype.kind == "f":
        scores = array.shape[-1] if array.ndim > 1 else 1
        return array.ndim > 0 and (scores == count or (scores == 1 and count == 2))
    return array.ndim == 1 and array.dtype.kind in "iu" and bool((array < count).all())
