"""Rules across keys: what would fail later, or silently do nothing, is refused here with its fix."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from modelspec.errors import Diagnostic
from modelspec.options import Options
from modelspec.quantization import Dynamic, Weights, methods_for
from modelspec.spec import engine_rules, finetune_rules, gate_rules, prune_rules
from modelspec.spec.context import Context, Read, words_in
from modelspec.spec.files import parts
from modelspec.spec.model import ModelSpec
from modelspec.spec.positions import Place, Positions
from modelspec.words import closest


def check(spec: ModelSpec, positions: Positions) -> Iterable[Diagnostic]:
    """Every rule that the spec breaks."""
    context = Context(spec, positions)
    for rule in (
        _targets,
        _quantize,
        _percentile,
        _sensitivity,
        _source,
        _signature,
        _processing,
        _data,
        *gate_rules.RULES,
        *prune_rules.RULES,
        *finetune_rules.RULES,
        *engine_rules.RULES,
    ):
        yield from rule(context)
    yield from context.refusals


def _targets(context: Context) -> Iterator[Diagnostic]:
    """Each device offers the precision asked of it, and names are unique."""
    first: dict[str, int] = {}
    for index, target in enumerate(context.spec.targets):
        place: Place = ("targets", index)
        if target.chosen_precision not in target.precisions:
            offered = ", ".join(target.precisions)
            yield context.problem(
                "MS305",
                f"{target.device_name} does not offer {target.chosen_precision}",
                (*place, "precision"),
                help=f"{target.device_name} offers {offered}",
            )
        if target.label in first:
            yield context.problem(
                "MS309",
                f"two targets have the name {target.label!r}",
                (*place, "name"),
                help="give one of them a name of its own, for example name: second",
                also=((("targets", first[target.label]), "the first is here"),),
            )
        first.setdefault(target.label, index)


def _quantize(context: Context) -> Iterator[Diagnostic]:
    """Options for a precision serve a target of that precision."""
    used = {t.chosen_precision for t in context.spec.targets if getattr(t, "quantize", None) is None}
    block = context.spec.blocks.get("quantize")
    for precision in _written_keys(block):
        if precision not in used:
            yield context.problem(
                "MS306",
                f"no target uses quantize.{precision}",
                ("quantize", precision),
                key=True,
                help=f"add a target: {{device: cpu, precision: {precision}}}, or remove quantize.{precision}",
            )
    for index, target in enumerate(context.spec.targets):
        if getattr(target, "quantize", None) is not None and target.chosen_precision == "fp32":
            yield context.problem(
                "MS319",
                f"'quantize' has no effect at the precision {target.chosen_precision}",
                ("targets", index, "quantize"),
                key=True,
                help="write precision: int8, or remove quantize",
            )
        elif (method := getattr(target, "quantize", None)) is not None and not isinstance(
            method, methods_for(target.chosen_precision)
        ):
            fitting = _any_of([kind.__name__.lower() for kind in methods_for(target.chosen_precision)])
            yield context.problem(
                "MS306",
                f"the method {method.method} does not lead to {target.chosen_precision}",
                ("targets", index, "quantize", "method"),
                help=f"write method: {fitting}",
            )


def _any_of(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _percentile(context: Context) -> Iterator[Diagnostic]:
    """A share to cover is given where ranges are found by one."""
    for place, owner in parts(context.spec):
        if "percentile" in owner.model_fields_set and getattr(owner, "ranges", "percentile") != "percentile":
            yield context.problem(
                "MS319",
                "'percentile' has no effect: ranges are found otherwise",
                (*place, "percentile"),
                key=True,
                help="write ranges: percentile, or remove it",
            )


def _sensitivity(context: Context) -> Iterator[Diagnostic]:
    """A method that calibrates nothing reads data for its sensitivity table alone."""
    for place, owner in parts(context.spec):
        if isinstance(owner, Dynamic | Weights) and owner.data is not None and not owner.sensitivity:
            yield context.problem(
                "MS319",
                f"'data' has no effect: the method {owner.method} measures no ranges",
                (*place, "data"),
                key=True,
                help="remove it, or write sensitivity: true to rank the nodes on it",
            )


def _written_keys(block: Any) -> list[str]:
    if isinstance(block, Options):
        return [name for name, value in block if value is not None and name in block.model_fields_set]
    return list(block or ())


def _source(context: Context) -> Iterator[Diagnostic]:
    """Keys of the source and of convert that would have no effect."""
    source = context.spec.source
    uses_code = any(owner.entrypoints() for _, owner in parts(context.spec))
    for name in ("code", "requires"):
        if name in source.model_fields_set and not uses_code:
            yield context.problem(
                "MS319",
                f"'{name}' has no effect: the spec calls no user code",
                ("source", name),
                key=True,
                help=f"remove it; {name} serves an entrypoint, a loader or a metric written file.py:callable",
            )
    exporter = getattr(context.spec.blocks.get("convert"), "exporter", None)
    if exporter is not None and exporter not in source.exporters:
        near = closest(exporter, source.exporters)
        choice = f"write one of: {', '.join(source.exporters)}" if source.exporters else "remove it"
        yield context.problem(
            "MS319",
            f"{source.name} has no exporter {exporter!r}",
            ("convert", "exporter"),
            help=f"did you mean {near!r}?" if near else choice,
        )


def _processing(context: Context) -> Iterator[Diagnostic]:
    """Classes have names where there are classes."""
    labels = getattr(context.spec.blocks.get("processing"), "labels", None)
    evaluate = context.spec.blocks.get("evaluate")
    task = evaluate.told_task() if evaluate is not None else None
    if labels is not None and task not in {None, "classification"}:
        yield context.problem(
            "MS319",
            f"'labels' has no effect: the task is {task}, and knows no classes",
            ("processing", "labels"),
            key=True,
            help="remove it, or write evaluate: {task: classification}",
        )


def _signature(context: Context) -> Iterator[Diagnostic]:
    """What cannot be inferred is written."""
    source = context.spec.source
    if not source.infers_signature and not context.spec.signature.inputs:
        yield context.problem(
            "MS313",
            f"the inputs of a {source.name} model cannot be read off it",
            ("signature",) if context.positions.has(("signature",)) else ("source", "framework"),
            help="add signature: {inputs: {image: {dtype: float32, shape: [batch, 1, 8, 8]}}}",
        )


def _data(context: Context) -> Iterator[Diagnostic]:
    """Data sets that are named exist, those that exist are read, and evaluation has its own."""
    known = context.spec.data
    seen: set[Place] = set()
    read = [(read.dataset, read.place) for read in context.reads]
    tune = context.spec.tune
    if tune is not None and tune.data is not None:
        read.append((tune.data, ("tune", "data")))
    for name, place in read:
        if name not in known and place not in seen:
            seen.add(place)
            near = closest(name, known)
            fix = f"did you mean {near!r}?" if near else f"add it under data: {name}: {{path: {name}.npz}}"
            yield context.problem("MS301", f"no data set {name!r}", place, help=fix)
    used = {name for name, _ in read} | (words_in(tune.search) & set(known) if tune else set())
    meant = {closest(name, known) for name in used - set(known)}
    for name in known:
        if name not in used | meant and not context.refusals:
            yield context.problem(
                "MS302",
                f"the data set {name!r} is read by nothing",
                ("data", name),
                key=True,
                help="remove it, or name it, for example in evaluate: {data: ...}",
            )
    yield from _leaks(context)


def _leaks(context: Context) -> Iterator[Diagnostic]:
    """No stage that changes the model reads what the model is judged by, under whatever name."""
    judged: dict[Any, Read] = {}
    for read in context.reads:
        if (
            read.use.measures
            and not read.use.changes_model
            and read.slot == "data"
            and read.dataset in context.spec.data
        ):
            judged.setdefault(context.content(read.dataset), read)
    reported: dict[Place, bool] = defaultdict(bool)
    for read in context.reads:
        learns = read.use.changes_model and read.slot == "data" and read.dataset in context.spec.data
        other = judged.get(context.content(read.dataset)) if learns else None
        if other is None or reported[read.place]:
            continue
        reported[read.place] = True
        same = read.dataset == other.dataset
        what = (
            f"the data set {read.dataset!r}"
            if same
            else f"the data sets {read.dataset!r} and {other.dataset!r}, which are one file,"
        )
        yield context.problem(
            "MS303",
            f"{what} serve{'s' if same else ''} {read.use.stage.name} and {other.use.stage.name} alike",
            read.place,
            also=((other.place, "also read here"),),
            why="a model that was fitted to its evaluation data looks better than it is",
            help="use another data set here",
        )
