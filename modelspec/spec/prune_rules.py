"""Rules of pruning: what can be pruned so, and what would be gained by it."""

from collections.abc import Callable, Iterator
from typing import Any

from modelspec import registry
from modelspec.errors import Diagnostic
from modelspec.spec.context import Context

_METHODS = {"module": ("structured", "magnitude", "2:4"), "graph": ("magnitude", "2:4")}
"""What can be done to each kind of model."""


def _source(context: Context) -> Iterator[Diagnostic]:
    """The method fits the kind of source."""
    block = context.spec.blocks.get("prune")
    source = context.spec.source
    methods = _METHODS.get(source.model_kind, ())
    if block is not None and block.method not in methods:
        fix = f"use method: {' or '.join(methods)}" if methods else "remove the block prune"
        what = f"pruned by method: {block.method}" if methods else "pruned"
        yield context.problem(
            "MS330",
            f"a source of framework {source.name} cannot be {what}",
            ("prune", "method"),
            help=fix,
            also=((("source", "framework"), "the framework"),),
        )


def _share(context: Context) -> Iterator[Diagnostic]:
    """How much to remove is said, where it is not half by nature."""
    block = context.spec.blocks.get("prune")
    if block is not None and block.method != "2:4" and block.sparsity is None and not block.layers:
        yield context.problem(
            "MS202",
            "missing key 'sparsity'",
            ("prune",),
            key=True,
            help="add sparsity: 0.5, the share to remove; or layers: with a share for each",
        )


def _gain(context: Context) -> Iterator[Diagnostic]:
    """Something becomes smaller or faster by it."""
    block: Any = context.spec.blocks.get("prune")
    methods = _METHODS.get(context.spec.source.model_kind, ())
    if block is None or block.method == "structured" or block.method not in methods:
        return
    if block.method == "2:4":
        if not any(target.sparse_2_4 for target in context.spec.targets):
            devices = ", ".join(dict.fromkeys(target.device_name for target in context.spec.targets))
            yield context.problem(
                "MS331",
                f"no target runs 2:4 sparsity faster: {devices}",
                ("prune", "method"),
                help="use method: structured, which makes a model smaller and faster everywhere"
                if "structured" in methods
                else "remove the block prune",
                also=((("targets",), "the targets"),),
            )
    elif getattr(context.spec.blocks.get("package"), "compression", None) is None:
        fixes = ["add package: {compression: gzip}"] if "package" in registry.stages() else []
        fixes += ["use method: structured"] if "structured" in methods else []
        yield context.problem(
            "MS558",
            "the zeros make the model neither smaller nor faster: nothing compresses it",
            ("prune", "method"),
            help=", or ".join(fixes or ["remove the block prune"]),
        ).at(severity="warning")


RULES: tuple[Callable[[Context], Iterator[Diagnostic]], ...] = (_source, _share, _gain)
