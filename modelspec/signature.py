"""The tensors of a model: names, element types, shapes with named dynamic axes, value ranges."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from modelspec.options import Options, refuse, text

DType = Literal[
    "float16", "float32", "float64", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "bool", "string",
]  # fmt: skip

_AXIS = r"^[A-Za-z_][A-Za-z0-9_.:/-]*$"
_SIZE = WithJsonSchema({"type": "integer", "minimum": 0})


def _dimension(value: int | str) -> int | str:
    if isinstance(value, int) and value < 0:
        raise refuse("MS214", f"a dimension may not be negative: {value}", "name a dynamic axis: [batch, 10]")
    if isinstance(value, str) and not re.fullmatch(_AXIS, value):
        raise refuse("MS214", f"{value!r} is not a name for an axis", "use letters, digits and underscores")
    return value


Dimension = Annotated[Annotated[int, _SIZE] | Annotated[str, text(_AXIS)], AfterValidator(_dimension)]


class TensorSpec(Options):
    """One tensor."""

    dtype: DType = Field(description="Element type.", examples=["float32"])
    shape: tuple[Dimension, ...] = Field(
        description="Sizes of the axes; a name stands for an axis of any size.", examples=[["batch", 1, 8, 8]]
    )
    range: tuple[float, float] | None = Field(
        None, description="Smallest and largest value; generated inputs stay inside.", examples=[[0, 1]]
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.range and self.range[0] > self.range[1]:
            raise refuse(
                "MS215",
                f"the range is empty: {self.range[0]} is above {self.range[1]}",
                "write the smaller value first",
            )
        return self


class Signature(Options):
    """Inputs and outputs, in the model's order."""

    inputs: dict[str, TensorSpec] = Field(
        default_factory=dict, description="Inputs by name, in the order of the model's arguments.",
        examples=[{"image": {"dtype": "float32", "shape": ["batch", 1, 8, 8]}}],
    )  # fmt: skip
    outputs: dict[str, TensorSpec] = Field(
        default_factory=dict, description="Outputs by name, in the order the model returns them.",
        examples=[{"logits": {"dtype": "float32", "shape": ["batch", 10]}}],
    )  # fmt: skip

    def keyed(self) -> dict[str, Any]:
        """As lists: the order of tensors matters, and canonical JSON sorts keys."""
        return {side: list(tensors) for side, tensors in self.as_lists().items()}

    def as_lists(self) -> dict[str, list[dict[str, Any]]]:
        """`{inputs: [{name, dtype, shape, range?}], outputs: [...]}`: the form of signature.json."""

        def listed(tensors: dict[str, TensorSpec]) -> list[dict[str, Any]]:
            return [{"name": n, **t.model_dump(mode="json", exclude_none=True)} for n, t in tensors.items()]

        return {"inputs": listed(self.inputs), "outputs": listed(self.outputs)}

    @classmethod
    def read(cls, folder: Path) -> "Signature":
        """The one that `convert` wrote there."""
        return cls.from_lists(json.loads((folder / "signature.json").read_text()))

    @classmethod
    def from_lists(cls, value: dict[str, list[dict[str, Any]]]) -> "Signature":
        """The inverse of `as_lists`, as read from signature.json."""

        def named(tensors: list[dict[str, Any]]) -> dict[str, TensorSpec]:
            return {
                tensor["name"]: TensorSpec(
                    dtype=tensor["dtype"],
                    shape=tuple(tensor["shape"]),
                    range=tuple(tensor["range"]) if "range" in tensor else None,
                )
                for tensor in tensors
            }

        return cls(inputs=named(value["inputs"]), outputs=named(value["outputs"]))
