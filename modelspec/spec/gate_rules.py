"""Rules of evaluation: the task, its metrics, and gates that can fail."""

from collections.abc import Callable, Iterator
from typing import Any

from modelspec.errors import Diagnostic
from modelspec.metric import METRICS, Gate, limit_value
from modelspec.options import parse_quantity
from modelspec.spec.context import Context
from modelspec.spec.positions import Place
from modelspec.words import closest


def _is_code(metric: str) -> bool:
    return ":" in metric


def _block(context: Context) -> Any:
    return context.spec.blocks.get("evaluate")


def _metrics(context: Context) -> tuple[str, ...]:
    block = _block(context)
    return tuple(getattr(block, "metrics", None) or ())


def _task(context: Context) -> Iterator[Diagnostic]:
    """One task, written or told from the metrics, and metrics of that task."""
    block = _block(context)
    if block is None:
        return
    if block.data is None:
        yield from _no_data(context)
        return
    tasks: dict[str, Place] = {}
    for index, name in enumerate(_metrics(context)):
        if (metric := METRICS.get(name)) and metric.task:
            tasks.setdefault(metric.task, ("evaluate", "metrics", index))
    for index, gate in enumerate(block.gates):
        if (metric := METRICS.get(gate.metric)) and metric.task and not _metrics(context):
            tasks.setdefault(metric.task, ("evaluate", "gates", index, "metric"))
    if block.task is not None:
        for task, place in tasks.items():
            if task != block.task:
                yield context.problem(
                    "MS311",
                    f"{_at(context, place)!r} is a metric of {task}, and the task is {block.task}",
                    place,
                    help=f"use a metric of {block.task}: {_of_task(block.task)}",
                    also=((("evaluate", "task"), "the task"),),
                )
    elif not tasks and all(_is_code(name) or name in METRICS for name in _metrics(context)):
        yield context.problem(
            "MS310",
            "the task cannot be told from the metrics",
            ("evaluate", "metrics") if _metrics(context) else ("evaluate",),
            key=True,
            help="add task: classification (or regression, embedding)",
        )
    elif len(tasks) > 1:
        (first, one), (second, two), *_ = tasks.items()
        yield context.problem(
            "MS311",
            f"{_at(context, two)!r} is a metric of {second}, and {_at(context, one)!r} of {first}",
            two,
            help=f"keep the metrics of one task; of {first}: {_of_task(first)}",
            also=((one, f"a metric of {first}"),),
        )


def _no_data(context: Context) -> Iterator[Diagnostic]:
    """Without data the block holds gates, and nothing else of it has an effect."""
    for name in ("task", "output", "metrics"):
        if name in _block(context).model_fields_set:
            yield context.problem(
                "MS202",
                f"missing key 'data': {name!r} needs data to measure on",
                ("evaluate",),
                key=True,
                help="add data: test",
            )
            return


def _at(context: Context, place: Place) -> str:
    block = _block(context)
    index = int(place[2])
    return str(block.metrics[index] if place[1] == "metrics" else block.gates[index].metric)


def _of_task(task: str) -> str:
    return ", ".join([name for name, metric in METRICS.items() if metric.task == task][:4])


def _names(context: Context) -> Iterator[Diagnostic]:
    """Metrics have a name that is known, and the data that they need."""
    block = _block(context)
    loader = context.spec.data.get(getattr(block, "data", None) or "")
    for index, name in enumerate(_metrics(context)):
        place: Place = ("evaluate", "metrics", index)
        metric = METRICS.get(name)
        if metric is None and not _is_code(name):
            near = closest(name, METRICS)
            known = ", ".join(n for n, m in METRICS.items() if m.made_by == "evaluate")
            yield context.problem("MS203", f"{name!r} is not a metric", place,
                                  help=f"did you mean {near!r}?" if near else f'write one of: {known}; or "metrics.py:callable"')  # fmt: skip
        elif metric and metric.made_by != "evaluate":
            yield context.problem("MS319", f"{name!r} is not measured by evaluate but by {metric.made_by}", place,
                                  help="remove it here; a gate can use it all the same")  # fmt: skip
        elif metric and metric.labels and loader is not None and loader.labels is None:
            yield context.problem(
                "MS312",
                f"{name!r} needs labels, and the data set {block.data!r} has none",
                place,
                help=f"name the array with the true answers: data: {{{block.data}: {{labels: ...}}}}",
                also=((("data", block.data), "no labels here"),),
            )


def _one_name(context: Context) -> Iterator[Diagnostic]:
    """Figures and gates go by name, so no two metrics share one."""
    first: dict[str, Place] = {}
    for index, metric in enumerate(_metrics(context)):
        name, place = metric.rpartition(":")[2], ("evaluate", "metrics", index)
        if _is_code(metric) and name in METRICS:
            yield context.problem("MS326", f"{name!r} is the name of a metric that modelspec measures", place,
                                  help="rename the function")  # fmt: skip
        elif name in first:
            yield context.problem("MS326", f"two metrics have the name {name!r}", place,
                                  help="rename one of the functions" if _is_code(metric) else "remove one",
                                  also=((first[name], "the first is here"),))  # fmt: skip
        first.setdefault(name, place)


def produced(context: Context) -> dict[str, str]:
    """Metric -> the stage that produces it; user code goes by the name of its callable."""
    asked = {use.stage.name for use in context.uses}
    measured = _block(context).measured() if "evaluate" in asked else ()
    found = {name.rpartition(":")[2]: "evaluate" for name in measured}
    return found | {name: m.made_by for name, m in METRICS.items() if m.made_by != "evaluate" and m.made_by in asked}


def _gates(context: Context) -> Iterator[Diagnostic]:
    """Each gate limits a metric that is measured, in its direction and unit, on targets that exist."""
    block = _block(context)
    if block is None:
        return
    measured = produced(context)
    for index, gate in enumerate(block.gates):
        place: Place = ("evaluate", "gates", index)
        if gate.metric not in measured:
            yield _not_produced(context, gate, place, measured)
        yield from _limits(context, gate, place)
        labels = [target.label for target in context.spec.targets]
        for position, name in enumerate(gate.targets or ()):
            if name not in labels:
                near = closest(name, labels)
                yield context.problem("MS308", f"no target {name!r}", (*place, "targets", position),
                                      help=f"did you mean {near!r}?" if near else f"the targets are: {', '.join(labels)}")  # fmt: skip
    if block.data is not None and block.told_task() == "regression" and not block.gates:
        yield context.problem(
            "MS314",
            "a regression needs a gate: no limit is right for every unit",
            ("evaluate",),
            key=True,
            help="add gates: [{metric: mean_absolute_error, max: 2.5}]",
        )


def _not_produced(context: Context, gate: Gate, place: Place, produced: dict[str, str]) -> Diagnostic:
    metric = METRICS.get(gate.metric)
    if metric is None:
        near = closest(gate.metric, {*METRICS, *produced})
        fix = f"did you mean {near!r}?" if near else f"measured are: {', '.join(produced)}"
    elif metric.made_by == "evaluate":
        fix = f"add it to evaluate.metrics: [{', '.join((*_metrics(context), gate.metric))}]"
    else:
        fix = f"add {metric.made_by}: {metric.block}, which measures it"
    return context.problem("MS307", f"nothing measures {gate.metric!r}", (*place, "metric"), help=fix)


def _limits(context: Context, gate: Gate, place: Place) -> Iterator[Diagnostic]:
    """A gate says something, and in the direction in which it can fail."""
    metric = METRICS.get(gate.metric)
    if gate.min is None and gate.max is None and gate.max_drop is None:
        yield context.problem("MS315", f"the gate on {gate.metric!r} limits nothing", place,
                              help="add min, max or max_drop")  # fmt: skip
    if gate.max_drop == "off" and gate.reason is None:
        yield context.problem("MS316", "max_drop is off without a reason", (*place, "max_drop"),
                              help='add reason: "..." for those who read the build later')  # fmt: skip
    if gate.reason is not None and gate.max_drop != "off":
        yield context.problem("MS319", "'reason' has no effect: max_drop is not off", (*place, "reason"), key=True,
                              help="remove it, or write max_drop: off")  # fmt: skip
    if metric is None:
        if gate.max_drop not in (None, "off") and gate.min is None:
            yield context.problem("MS315", f"nothing says which way {gate.metric!r} is better, so 'max_drop' cannot judge it",
                                  (*place, "max_drop"), key=True,
                                  help="add min, if higher is better; of a cost, return the negative and add min")  # fmt: skip
        return
    wrong, right = ("max", "min") if metric.better == "higher" else ("min", "max")
    if getattr(gate, wrong) is not None:
        yield context.problem("MS315", f"'{wrong}' is the wrong direction: {metric.better} is better for {gate.metric!r}",
                              (*place, wrong), key=True, help=f"write {right}")  # fmt: skip
    if gate.max_drop not in (None, "off") and metric.made_by != "evaluate":
        yield context.problem("MS315", f"'max_drop' compares with the source model, and {gate.metric!r} is not measured of it",
                              (*place, "max_drop"), key=True, help=f"write {right}")  # fmt: skip
    for side in ("min", "max"):
        if (limit := getattr(gate, side)) is not None:
            yield from _unit(context, gate.metric, limit, (*place, side))


def _unit(context: Context, name: str, limit: float | str, place: Place) -> Iterator[Diagnostic]:
    wanted = METRICS[name].unit
    given = parse_quantity(limit)[1] if isinstance(limit, str) else ""
    if wanted in {"bytes", "seconds"}:
        example = "30MB" if wanted == "bytes" else "5ms"
        if given != wanted:
            what = f"is in {given}" if given else "has no unit"
            yield context.problem("MS320", f"the limit of {name!r} {what}", place, help=f"for example: {example}")
    elif given:
        yield context.problem(
            "MS320", f"{name!r} has no unit", place, help=f"write the number alone: {limit_value(limit):g}"
        )


def _output(context: Context) -> Iterator[Diagnostic]:
    """The output that is judged is one of the model's."""
    output = getattr(_block(context), "output", None)
    outputs = context.spec.signature.outputs
    if output is not None and outputs and output not in outputs:
        near = closest(output, outputs)
        yield context.problem("MS323", f"the model has no output {output!r}", ("evaluate", "output"),
                              help=f"did you mean {near!r}?" if near else f"the outputs are: {', '.join(outputs)}")  # fmt: skip


RULES: tuple[Callable[[Context], Iterator[Diagnostic]], ...] = (_task, _names, _one_name, _gates, _output)
