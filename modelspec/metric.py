"""Metrics by name, with their direction, and the gates that limit them. Their computation is in `stages/`."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from modelspec.options import QUANTITY, Options, parse_quantity, refuse, text
from modelspec.target import Name

Task = Literal["classification", "regression", "embedding"]
Direction = Literal["higher", "lower"]
Unit = Literal["", "bytes", "seconds", "per second"]


@dataclass(frozen=True)
class Metric:
    """What is known of a metric without computing it."""

    better: Direction
    task: Task | None = None
    """The task it belongs to; None for one that serves all."""
    labels: bool = False
    """Whether it needs the true answers."""
    unit: Unit = ""
    made_by: str = "evaluate"
    """The stage that produces it."""
    block: str = "{}"
    """The shortest block that asks for that stage."""


def _of(task: Task, better: Direction, *names: str) -> dict[str, Metric]:
    return {name: Metric(better, task, labels=True) for name in names}


METRICS: dict[str, Metric] = {
    **_of("classification", "higher", "accuracy", "balanced_accuracy", "f1_macro", "f1_micro", "f1_weighted"),
    **_of("classification", "higher", "precision_macro", "recall_macro", "roc_auc_ovr", "matthews_corrcoef"),
    **_of("classification", "lower", "log_loss"),
    **_of("regression", "higher", "r2"),
    **_of(
        "regression",
        "lower",
        "mean_absolute_error",
        "mean_squared_error",
        "root_mean_squared_error",
        "max_error",
    ),
    "cosine_mean": Metric("higher", "embedding"),
    "cosine_min": Metric("higher", "embedding"),
    "agreement": Metric("higher"),
    "size": Metric("lower", unit="bytes", made_by="compile"),
    "unpacked_size": Metric("lower", unit="bytes", made_by="package", block="{compression: gzip}"),
    "latency_p50": Metric("lower", unit="seconds", made_by="benchmark"),
    "latency_p95": Metric("lower", unit="seconds", made_by="benchmark"),
    "latency_p99": Metric("lower", unit="seconds", made_by="benchmark"),
    "throughput": Metric("higher", unit="per second", made_by="benchmark"),
    "peak_memory": Metric("lower", unit="bytes", made_by="benchmark"),
}
"""Every named metric. `agreement` is the share of samples on which the built model answers as the source does."""


def direction(metric: str) -> Direction:
    """Which way a metric is better; a metric of the user's is better higher."""
    return METRICS[metric].better if metric in METRICS else "higher"


DEFAULT_METRIC: dict[Task, str] = {
    "classification": "accuracy",
    "regression": "r2",
    "embedding": "cosine_mean",
}
"""What is measured when `metrics` is left out; for all tasks but regression, also what is gated by default."""

DEFAULT_MAX_DROP = 0.01

_DROP = r"^(off|[0-9]{1,30}(\.[0-9]{1,30})?%)$"


def _limit(value: float | str) -> float | str:
    if isinstance(value, str):
        if value.endswith("%"):
            raise refuse(
                "MS213", f"{value!r} is a share, which only max_drop takes", "write a plain number, such as 0.9"
            )
        parse_quantity(value)
    return value


def _drop(value: float | str) -> float | str:
    if isinstance(value, str) and not re.fullmatch(_DROP, value):
        raise refuse("MS206", f"{value!r} is not a drop", 'write a number (0.01), a share of the source ("1%"), or off')
    if isinstance(value, float) and value < 0:
        raise refuse("MS205", "a drop may not be negative", "0 allows none")
    return value


Limit = Annotated[float | Annotated[str, text(QUANTITY)], AfterValidator(_limit)]
_Share = Annotated[float, WithJsonSchema({"type": "number", "minimum": 0})]
Drop = Annotated[_Share | Annotated[str, text(_DROP)], AfterValidator(_drop)]


class Gate(Options):
    """A limit on a metric. A failed gate fails the build."""

    metric: str = Field(description="Name of the metric.", examples=["accuracy", "latency_p95", "size"])
    min: Limit | None = Field(None, description="The value may not be below this.", examples=[0.95])
    max: Limit | None = Field(None, description="The value may not be above this.", examples=["5ms", "30MB"])
    max_drop: Drop | None = Field(
        None,
        description='How much worse than the source model it may be: absolute, or a share ("1%"); off takes a reason.',
        examples=[0.01, "1%"],
    )
    targets: tuple[Name, ...] | None = Field(
        None, min_length=1, description="The targets it holds for; all when left out.", examples=[["cpu-int8"]]
    )
    reason: str | None = Field(
        None, min_length=1, description="Why `max_drop` is off.", examples=["the source model is a stub"]
    )


def limit_value(limit: float | str) -> float:
    """The number behind a limit: bytes, seconds, or the number itself."""
    return parse_quantity(limit)[0] if isinstance(limit, str) else float(limit)
