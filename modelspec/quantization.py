"""The ways to reach a precision, as options: for `quantize:`, and for a target's own override."""

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
    reduce_range: bool = Field(
        False,
        description="Weights of 7 bits, whose products never saturate on x86-64 CPUs with AVX2 and without VNNI. Off: "
        "measured, all-MiniLM-L6-v2 loses less there by saturation than everywhere by the eighth bit.",
        examples=[True],
    )
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
    reduce_range: bool = Field(
        True,
        description="Weights of 7 bits, whose products never saturate on x86-64 CPUs with AVX2 and without VNNI: the answers "
        "are the same on all. Off: 8 bits, for CPUs with VNNI; runtime.json then says so.",
        examples=[True],
    )


class Weights(_Method):
    """Weights alone are integers, in blocks with a scale each; the arithmetic stays in float. For matrix products."""

    method: Literal["weights"] = Field("weights", description="Only weights are quantized.", examples=["weights"])
    block_size: Literal[16, 32, 64, 128, 256] = Field(
        32, description="Weights that share a scale: fewer are more exact, and larger.", examples=[32]
    )
    symmetric: bool = Field(
        False, description="Blocks without a zero point of their own: a little smaller, less exact.", examples=[False]
    )
    activations: Literal["float32", "int8"] = Field(
        "float32",
        description="int8: the runtime rounds what it multiplies to 8 bits. Measured on all-MiniLM-L6-v2: 1.3 times as fast "
        "as fp32 instead of 0.9 (int4) or 0.4 (int8w), at the same cosine, but CPUs differ in the third digit.",
        examples=["int8"],
    )
    data: str | None = Field(
        None, description="With sensitivity: the data set to measure it on.", examples=["calibration"]
    )


class Auto(_Method):
    """The method is chosen by the graph, and the choice recorded with its reason."""

    method: Literal["auto"] = Field("auto", description="Chosen by the graph.", examples=["auto"])
    data: str | None = Field(
        None, description="A calibration data set, which convolutions need.", examples=["calibration"]
    )


class Mixed(Options):
    """Nodes compute in 16 bits, but for those that overflow there or must stay exact; inputs and outputs stay as they are."""

    method: Literal["mixed"] = Field("mixed", description="Computed in 16 bits where that is safe.", examples=["mixed"])
    exclude: tuple[str, ...] = Field(
        (), description="Nodes to leave in fp32, by name or pattern.", examples=[["/head/*"]]
    )
    data: str | None = Field(
        None,
        description="The data set on which the largest numbers are measured; without it, generated inputs.",
        examples=["calibration"],
    )
    headroom: float = Field(
        8.0,
        ge=1,
        le=1000,
        description="How many times larger than any that was measured a number must be able to grow.",
        examples=[8.0],
    )


Method = Annotated[Dynamic | Static | Auto, Field(discriminator="method")]
AnyMethod = Annotated[Dynamic | Static | Auto | Weights | Mixed, Field(discriminator="method")]

WEIGHT_BITS = {"int4": 4, "int8w": 8}
"""The precisions that only weights have, with the bits of one."""


FLOATS = ("fp16", "bf16")
"""The precisions that are mixed ones: 16 bits where that is safe."""


def methods_for(precision: str) -> tuple[type[Options], ...]:
    """The ways that lead to a precision."""
    if precision in FLOATS:
        return (Mixed,)
    return (Weights,) if precision in WEIGHT_BITS else (Dynamic, Static, Auto)


class Precisions(Options):
    """How each precision is reached."""

    int8: Method | None = Field(None, description="Weights and activations of 8 bits.", examples=[{"method": "auto"}])
    int4: Weights | None = Field(None, description="Weights of 4 bits.", examples=[{"block_size": 32}])
    int8w: Weights | None = Field(None, description="Weights of 8 bits, activations in float.", examples=[{}])

    fp16: Mixed | None = Field(None, description="Arithmetic of 16 bits.", examples=[{"exclude": ["/head/*"]}])
    bf16: Mixed | None = Field(None, description="Arithmetic of 16 bits, with the range of fp32.", examples=[{}])

    def of(self, precision: str) -> Dynamic | Static | Auto | Weights | Mixed | None:
        """What is written for a precision."""
        found: Dynamic | Static | Auto | Weights | Mixed | None = getattr(self, precision, None)
        return found
