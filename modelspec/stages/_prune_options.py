"""The ways to prune, as options: one union."""

from typing import Annotated, Literal

from pydantic import Field

from modelspec.options import Options

Sparsity = Annotated[float, Field(gt=0, lt=1)]
"""The share to remove."""


class _Method(Options):
    exclude: tuple[str, ...] = Field(
        (),
        description="Layers to leave as they are, by name or pattern; the name of a block stands for all in it.",
        examples=[["head", "encoder.layers.0.*"]],
    )


class _Shares(_Method):
    sparsity: Sparsity | None = Field(
        None, description="The share to remove of each layer that `layers` does not name.", examples=[0.5]
    )
    layers: dict[str, Sparsity] = Field(
        default_factory=dict,
        description="The share to remove by layer, each a name or pattern.",
        examples=[{"features.*": 0.5}],
    )


class Structured(_Shares):
    """Channels and neurons are removed, and whatever depends on them: the model becomes smaller and faster."""

    method: Literal["structured"] = Field(description="Channels and neurons are removed.", examples=["structured"])
    criterion: Literal["l1", "l2"] = Field(
        "l2", description="The norm of its weights by which a channel counts.", examples=["l1"]
    )
    round_to: int = Field(
        16,
        ge=1,
        description="What remains of a layer is a multiple of this: other counts run slower. Of multiples of 16 the kernels of "
        "every x86-64 CPU make use; those of 8 are closer to the share that was asked for, and slow where vectors have 512 bits "
        "(measured, 30% of a network for images: 0.85 of its time with 8, 0.47 with 16).",
        examples=[8],
    )


class Magnitude(_Shares):
    """The smallest weights become zero. The model is as large and as fast as before until something compresses it."""

    method: Literal["magnitude"] = Field(description="The smallest weights become zero.", examples=["magnitude"])
    scope: Literal["global", "layer"] = Field(
        "global", description="Whether weights are compared over all layers, or in each by itself.", examples=["layer"]
    )


class TwoFour(_Method):
    """Two of any four neighbouring weights become zero: what the sparse tensor cores of GPUs take."""

    method: Literal["2:4"] = Field(description="Two of any four weights become zero.", examples=["2:4"])


Pruning = Annotated[Structured | Magnitude | TwoFour, Field(discriminator="method")]
