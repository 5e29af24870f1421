"""Rules of training: a source that can be trained, answers to learn from, and options that do something."""

from collections.abc import Callable, Iterator
from typing import Any

from modelspec.errors import Diagnostic
from modelspec.spec.context import Context
from modelspec.spec.positions import Place

_OF_THE_LOOP = (
    "schedule", "optimizer", "l1", "loss", "output", "dropout", "class_weights", "resample", "augment", "early_stopping",
)  # fmt: skip
"""What a trainer of the user's replaces."""

_OF_CLASSES = ("class_weights", "resample")


def _block(context: Context) -> Any:
    return context.spec.blocks.get("finetune")


def _told(context: Context) -> Any:
    """The block with what the evaluation says."""
    return next((use.stage for use in context.uses if use.stage.name == "finetune"), _block(context))


def _source(context: Context) -> Iterator[Diagnostic]:
    """The source is a module."""
    source = context.spec.source
    if _block(context) is not None and source.model_kind != "module":
        yield context.problem(
            "MS330",
            f"a source of framework {source.name} cannot be trained further",
            ("finetune",),
            key=True,
            help="remove the block finetune; pytorch modules can be trained",
            also=((("source", "framework"), "the framework"),),
        )


def _labels(context: Context) -> Iterator[Diagnostic]:
    """What is learnt from has the right answers."""
    block = _block(context)
    if block is None or block.trainer is not None or _told(context).loss == "source":
        return
    stopping = block.early_stopping
    named: dict[Place, str] = {("finetune", "data"): block.data}
    if stopping is not None and stopping.data is not None:
        named[("finetune", "early_stopping", "data")] = stopping.data
    for place, name in named.items():
        loader = context.spec.data.get(name)
        if loader is not None and loader.labels is None:
            yield context.problem(
                "MS332",
                f"the data set {name!r} has no labels to learn from",
                place,
                help=f"name the array with the right answers: data: {{{name}: {{labels: ...}}}}; or learn what the source "
                "answers: loss: source",
                also=((("data", name), "no labels here"),),
            )


def _trainer(context: Context) -> Iterator[Diagnostic]:
    """A trainer takes the place of the loop, and only it has parameters."""
    block = _block(context)
    if block is None:
        return
    without = _OF_THE_LOOP if block.trainer is not None else ("params",)
    for name in without:
        if name in block.model_fields_set:
            reason = "the trainer replaces the loop" if block.trainer is not None else "there is no trainer"
            fix = "remove it, or give it to the trainer in params" if block.trainer is not None else "remove it"
            yield context.problem("MS319", f"'{name}' has no effect: {reason}", ("finetune", name), key=True, help=fix)


def _effect(context: Context) -> Iterator[Diagnostic]:
    """Options about classes serve the loss of classes; each part does something."""
    block = _block(context)
    if block is None or block.trainer is not None:
        return
    told = _told(context)
    for name in _OF_CLASSES:
        if getattr(block, name) is not None and told.loss not in {None, "cross_entropy"}:
            yield context.problem(
                "MS319",
                f"'{name}' has no effect: the loss is {told.loss}, which knows no classes",
                ("finetune", name),
                key=True,
                help="remove it, or use loss: cross_entropy",
            )
    if block.augment is not None and not (block.augment.noise or block.augment.flip or block.augment.shift):
        yield context.problem(
            "MS319",
            "'augment' has no effect: it names no change",
            ("finetune", "augment"),
            key=True,
            help="for example augment: {noise: 0.05}",
        )
    stopping = block.early_stopping
    if stopping is not None and stopping.data is not None and "holdout" in stopping.model_fields_set:
        yield context.problem(
            "MS319",
            "'holdout' has no effect: a data set is watched",
            ("finetune", "early_stopping", "holdout"),
            key=True,
            help="remove one of data and holdout",
        )
    known = context.spec.data
    both_known = stopping is not None and stopping.data in known and block.data in known
    if both_known and context.content(stopping.data) == context.content(block.data):
        yield context.problem(
            "MS303",
            f"the data set {stopping.data!r} says when to stop, and is learnt from",
            ("finetune", "early_stopping", "data"),
            why="the loss on what is learnt falls for ever",
            help="use another data set here, or holdout: 0.1",
        )


RULES: tuple[Callable[[Context], Iterator[Diagnostic]], ...] = (_source, _labels, _trainer, _effect)
