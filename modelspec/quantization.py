"""The ways to reach an integer precision, as options: one union, for `quantize:` and for a target's own override."""

from typing import Annotated, Literal

from pydantic import Field

from modelspec.options import Options


class _Method(Options):
    exclude: tuple[str, ...] = Field(
        (), description="Nodes to leave in float, by name or pattern.", examples=[["/head/*"]]
    )
    sensitivity: bool = Field(
        False,
        description="Write to metrics.json how far the outputs move when each node alone is quantized, the worst first: on "
        "32 samples of `data`, or on generated inputs.",
        examples=[True],
    )


class Dynamic(_Method):
    """Weights are stored as integers; activations are quantized as they come. For matrix products."""

    method: Literal["dynamic"] = Field(description="Ranges of activations found at run time.", examples=["dynamic"])
    per_channel: bool = Field(True, description="One scale per output channel of a weight.", examples=[True])
    data: str | None = Field(
        None, description="With sensitivity: the data set to measure it on.", examples=["calibration"]
    )


class Static(_Method):
    """Weights and activations are integers, with ranges measured on calibration data. For convolutions."""

    method: Literal["static"] = Field(description="Ranges of activations measured on data.", examples=["static"])
    data: str = Field(description="The calibration data set.", examples=["calibration"])
    ranges: Literal["minmax", "entropy", "percentile"] = Field(
        "minmax", description="How a range is found from what was measured.", examples=["minmax"]
    )
    percentile: float = Field(
        99.99, gt=50, le=100, description="With ranges: percentile, the share to cover.", examples=[99.99]
    )
    per_channel: bool = Field(True, description="One scale per output channel of a weight.", examples=[True])
    activations: Literal["uint8", "int8"] = Field(
        "uint8", description="Type of activations; uint8 is the fast one on x86-64.", examples=["uint8"]
    )


class Auto(_Method):
    """The method is chosen by the graph, and the choice recorded with its reason."""

    method: Literal["auto"] = Field("auto", description="Chosen by the graph.", examples=["auto"])
    data: str | None = Field(
        None, description="A calibration data set, which convolutions need.", examples=["calibration"]
    )


Method = Annotated[Dynamic | Static | Auto, Field(discriminator="method")]
