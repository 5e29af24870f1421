"""The `tune:` block: what may change in a spec, what is to become small or fast, and the data that judge it."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from modelspec.options import Options, refuse
from modelspec.spec.positions import Place
from modelspec.target import Name

Number = int | float
MOST_POINTS = 10_000
"""Points of a grid, and steps of a range: each is a build."""


class Range(Options):
    """Numbers from `low` to `high`: whole ones where both, and `step`, are whole."""

    low: Number = Field(description="The smallest value.", examples=[0.1])
    high: Number = Field(description="The largest value.", examples=[0.7])
    step: Annotated[Number, Field(gt=0)] | None = Field(
        None, description="The distance of two values; 1 between whole numbers when left out.", examples=[0.1]
    )
    log: bool = Field(False, description="Whether ratios count, not differences.", examples=[True])

    @model_validator(mode="after")
    def _is_a_range(self) -> "Range":
        if self.low >= self.high:
            raise refuse("MS215", f"no value lies between {self.low:g} and {self.high:g}", "write low below high")
        if self.log and self.step is not None:
            raise refuse("MS319", "'step' has no effect with log: ratios count", "remove one of the two")
        if self.log and self.low <= 0:
            raise refuse(
                "MS205", "with log, low must be above 0", "for example: {low: 1.0e-5, high: 1.0e-2, log: true}"
            )
        if self.step is not None and (self.high - self.low) / self.step > MOST_POINTS:
            raise refuse("MS205", f"the range has more than {MOST_POINTS} steps", "write a larger step")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))

    def values(self) -> tuple[Number, ...] | None:
        """All of them; None where there are too many to list: without a step, between numbers that are not whole."""
        if self.log or (self.step is None and not self.is_whole):
            return None
        # Decimals, because 0.1 + 0.2 is written 0.30000000000000004.
        low, high, step = (Decimal(str(value)) for value in (self.low, self.high, self.step or 1))
        if (high - low) / step > MOST_POINTS:
            return None
        kind: type[Number] = int if self.is_whole else float
        return tuple(kind(low + step * count) for count in range(int((high - low) / step) + 1))


def _kind(value: Any) -> str:
    return "range" if isinstance(value, dict | Range) else "list"


Values = Annotated[
    Annotated[tuple[Any, ...], Field(min_length=1), Tag("list")] | Annotated[Range, Tag("range")], Discriminator(_kind)
]
"""What one key may become: a list of values of any kind, or a range of numbers."""


class Tune(Options):
    """What `modelspec tune` looks for, and where. A build does not read it."""

    data: str | None = Field(
        None,
        description="The data set that the gates are measured on in place of that of `evaluate`, which stays unseen.",
        examples=["validation"],
    )
    target: Name | None = Field(
        None, description="The target to build; may be left out where there is one.", examples=["cpu-int8"]
    )
    objective: str = Field(
        "size", description="The metric to make as good as it gets among the builds that pass.", examples=["size"]
    )
    search: dict[str, Values] = Field(
        default_factory=dict,
        description="What to try: the path of a key, with dots, and its values as a list or a range.",
        examples=[{"quantize.int8.ranges": ["minmax", "entropy"], "prune.sparsity": {"low": 0.1, "high": 0.7}}],
    )
    sampler: Literal["grid", "tpe"] = Field(
        "tpe", description="Every combination, or those that a tree of Parzen estimators proposes.", examples=["grid"]
    )
    trials: int = Field(20, ge=1, le=MOST_POINTS, description="Builds that tpe may try.", examples=[30])
    seed: int = Field(
        0,
        ge=0,
        lt=2**32,
        description="Of tpe: the same seed gives the same choice, where the objective (size, not latency) stays the same.",
        examples=[0],
    )


def place_of(path: str, data: Mapping[str, Any]) -> Place:
    """The place that a path with dots means; a number counts the items of a list, from 0."""
    place: list[str | int] = []
    value: Any = data
    for part in path.split("."):
        key: str | int = int(part) if isinstance(value, tuple) and part.isdecimal() and part.isascii() else part
        place.append(key)
        if isinstance(value, tuple):
            value = value[key] if isinstance(key, int) and key < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return tuple(place)


def with_value(data: Any, place: Place, value: Any) -> Any:
    """A copy of `data` that says `value` at `place`; mappings on the way that are not there are made."""
    if not place:
        return value
    key, rest = place[0], place[1:]
    if isinstance(data, tuple) and isinstance(key, int):
        return tuple(with_value(item, rest, value) if index == key else item for index, item in enumerate(data))
    inner = data if isinstance(data, dict) else {}
    return {**inner, key: with_value(inner.get(key), rest, value)}
