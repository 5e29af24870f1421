"""The shapes an engine is built for, against the inputs of the model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelspec.engines.record import Range

Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Problem:
    """What is wrong with the shapes of an input."""

    input: str
    text: str
    help: str


def problems(inputs: Mapping[str, Shape], shapes: "Mapping[str, Range]") -> Iterator[Problem]:
    """An axis of any length needs a smallest, a usual and a largest; one that is fixed has no other."""
    for name in shapes:
        if name not in inputs:
            yield Problem(name, f"the model has no input {name!r}", f"its inputs: {', '.join(map(repr, inputs))}")
    for name, shape in inputs.items():
        found = shapes.get(name)
        if found is None:
            if any(isinstance(axis, str) for axis in shape):
                yield Problem(
                    name, f"the input {name!r} has axes of any length, and no shapes", f"add {example(name, shape)}"
                )
        elif text := _wrong(shape, found):
            yield Problem(name, f"the shapes of {name!r}: {text}", f"for example {example(name, shape)}")


def _wrong(shape: Shape, found: "Range") -> str:
    for kind in ("min", "opt", "max"):
        sizes = getattr(found, kind)
        if len(sizes) != len(shape):
            return f"{kind} has {len(sizes)} sizes, and the input {len(shape)} axes"
        for axis, size in zip(shape, sizes, strict=True):
            if isinstance(axis, int) and size != axis:
                return f"{kind} has {size} where the input always has {axis}"
    for low, usual, high in zip(found.min, found.opt, found.max, strict=True):
        if not 0 < low <= usual <= high:
            return f"{low}, {usual}, {high} are no smallest, usual and largest size"
    return ""


def example(name: str, shape: Shape) -> str:
    """What could be written."""
    sides = {"min": 1, "opt": 8, "max": 32}
    text = ", ".join(
        f"{side}: {[size if isinstance(axis, str) else axis for axis in shape]}" for side, size in sides.items()
    )
    return f"shapes: {{{name}: {{{text}}}}}"
