"""The fewest nodes that quantization has to leave in float: the worst first, then back what is not needed."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelspec.errors import ModelspecError, fail
from modelspec.spec.context import Context
from modelspec.spec.load import load
from modelspec.spec.model import ModelSpec
from modelspec.spec.positions import Place, Positions
from modelspec.spec.tune_rules import chosen_target
from modelspec.tune.trial import Bench, State, Trial

Try = Callable[[Mapping[Place, Any]], Trial]


@dataclass(frozen=True)
class Ranked:
    """A node that can be quantized, and how far it alone moves the outputs."""

    node: str
    op: str
    error: float | None
    """The share of the outputs' norm; None where they are no numbers any more."""


def quantized(spec: ModelSpec) -> tuple[Place, Any]:
    """Where the options of the target's quantization are written, and what they are. Raises MS325 where it has none."""
    index = chosen_target(spec)
    for use in Context(spec, Positions()).uses:
        if use.request.index == index and use.stage.name == "quantize":
            return use.origin, getattr(use.stage, "method")  # noqa: B009 - a stage by its contract has no such field
    label = spec.targets[index].label
    raise fail(
        "MS325",
        f"--exclude-nodes: {label} is not quantized",
        help="name a target of an integer precision in tune.target",
    )


def exclude(start: Trial, bench: Bench, try_: Try) -> tuple[Ranked, ...]:
    """Search on from `start`, which fails its gates; what is found is among the trials. Returns the ranking."""
    loaded = load(bench.file, text=start.text)
    place, method = quantized(loaded.spec)

    def changed(option: str, value: Any) -> dict[Place, Any]:
        if not loaded.positions.has(place):
            return {**start.changes, place: {"method": method.method, option: value}}
        key = (*place, option)
        return {**{p: v for p, v in start.changes.items() if p != key}, key: value}

    def passes(nodes: Sequence[str]) -> bool:
        names = (*method.exclude, *map(_literal, nodes))
        return try_(changed("exclude", names)).state is State.PASSED

    ranking = _ranking(try_(changed("sensitivity", True)))
    _fewest([row.node for row in ranking], passes)
    return ranking


def _ranking(trial: Trial) -> tuple[Ranked, ...]:
    if not trial.is_measured:
        raise ModelspecError(trial.problems)
    rows = trial.figures.details["quantize"]["sensitivity"]
    return tuple(Ranked(row["node"], row["op"], row["error"]) for row in rows)


def _literal(name: str) -> str:
    """The pattern that matches this name alone."""
    return re.sub(r"[*?[]", r"[\g<0>]", name)


def _fewest(nodes: Sequence[str], passes: Callable[[Sequence[str]], bool]) -> None:
    """How many of the worst it takes, by doubling and halving; then each is put back that is not needed after all."""
    fails, enough, most = 0, 1, len(nodes) - 1  # with all of them in float, nothing is quantized
    while enough <= most and not passes(nodes[:enough]):
        if enough == most:
            return
        fails, enough = enough, min(2 * enough, most)
    if enough > most:
        return
    while enough - fails > 1:
        middle = (fails + enough) // 2
        fails, enough = (fails, middle) if passes(nodes[:middle]) else (middle, enough)
    needed = list(nodes[:enough])
    for node in reversed(nodes[: enough - 1]):
        without = [other for other in needed if other != node]
        if passes(without):
            needed = without
