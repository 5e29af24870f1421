"""Parts of the options of `finetune`."""

from typing import Literal

from pydantic import Field

from modelspec.options import Options

Loss = Literal["cross_entropy", "binary_cross_entropy", "mse", "mae", "huber", "source"]


class Augment(Options):
    """Changes to the inputs that leave the answer as it is, drawn anew for each batch from the seed."""

    noise: float | None = Field(
        None, gt=0, description="Standard deviation of normal noise that is added.", examples=[0.05]
    )
    flip: tuple[Literal["horizontal", "vertical"], ...] = Field(
        (), description="Mirror half of the images: along the last axis, the one before it.", examples=[["horizontal"]]
    )
    shift: int | None = Field(
        None,
        ge=1,
        description="Move images by up to so many places along their last two axes; zeros move in.",
        examples=[1],
    )


class EarlyStopping(Options):
    """Training ends when the loss on other data no longer falls, and the best weights are kept."""

    patience: int = Field(3, ge=1, description="Epochs without a lower loss after which it ends.", examples=[3])
    data: str | None = Field(None, description="The data set to watch.", examples=["validation"])
    holdout: float = Field(
        0.1, gt=0, lt=1, description="Without `data`: the share of the training set to watch instead.", examples=[0.1]
    )
