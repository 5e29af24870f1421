"""Rules of tune: what is searched for can be found, is judged by data of its own, and lies within the schema."""

from collections.abc import Iterator
from math import prod
from typing import Any

from pydantic import ValidationError

from modelspec.errors import Diagnostic
from modelspec.metric import METRICS, Gate
from modelspec.spec import gate_rules, yaml
from modelspec.spec.context import Context
from modelspec.spec.model import ModelSpec, model
from modelspec.spec.positions import Place, Positions
from modelspec.spec.tune import MOST_POINTS, Range, Tune, place_of, with_value
from modelspec.words import closest

_FIXED = {
    "apiVersion": "is the shape of the file",
    "name": "is no part of the model",
    "version": "is no part of the model",
    "requires": "is no part of the model",
    "card": "is no part of the model",
    "tune": "is what searches",
    "evaluate": "is what judges the model",
}
"""Keys that may not be searched, with the reason."""


def check(spec: ModelSpec, document: yaml.Document) -> Iterator[Diagnostic]:
    """Every rule that the block breaks; nothing where there is none."""
    if spec.tune is None:
        return
    context = Context(spec, document.positions)
    found = [*_target(context, spec.tune), *_data(context, spec.tune), *_objective(context, spec.tune)]
    found += [*_sampler(context, spec.tune), *_search(context, spec.tune, document)]
    yield from found


def chosen_target(spec: ModelSpec) -> int:
    """The index of the target that is tuned."""
    name = spec.tune.target if spec.tune else None
    labels = [target.label for target in spec.targets]
    return labels.index(name) if name in labels else 0


def _target(context: Context, tune: Tune) -> Iterator[Diagnostic]:
    labels = [target.label for target in context.spec.targets]
    if tune.target is None and len(labels) > 1:
        yield context.problem("MS202", "missing key 'target': there are several", ("tune",), key=True,
                              help=f"add target: {labels[0]} (or {', '.join(labels[1:])})")  # fmt: skip
    if tune.target is not None and tune.target not in labels:
        near = closest(tune.target, labels)
        yield context.problem("MS308", f"no target {tune.target!r}", ("tune", "target"),
                              help=f"did you mean {near!r}?" if near else f"the targets are: {', '.join(labels)}")  # fmt: skip


def _data(context: Context, tune: Tune) -> Iterator[Diagnostic]:
    """The builds are judged, by data that nothing else reads and that fit the metrics."""
    block = context.spec.blocks.get("evaluate")
    label = context.spec.targets[chosen_target(context.spec)].label
    if block is None or not any(_limits(gate, label) for gate in block.all_gates()):
        yield context.problem("MS327", f"no gate says which builds of {label} are good enough", ("tune",), key=True,
                              help="add evaluate: {data: test, metrics: [accuracy]}, which has a gate")  # fmt: skip
        return
    place: Place = ("tune", "data")
    if block.data is None:
        if tune.data is not None:
            yield context.problem("MS319", "'data' has no effect: evaluate measures on none", place, key=True,
                                  help="remove it, or add evaluate.data")  # fmt: skip
        return
    if tune.data is None:
        yield context.problem("MS202", "missing key 'data' in 'tune'", ("tune",), key=True,
                              help="add data: validation, a data set of its own",
                              why="builds that were chosen by the evaluation data look better than they are")  # fmt: skip
        return
    yield from _leaks(context, tune.data)
    loader = context.spec.data.get(tune.data)
    needs = next((name for name in block.measured() if name in METRICS and METRICS[name].labels), None)
    if loader is not None and loader.labels is None and needs:
        yield context.problem("MS312", f"{needs!r} needs labels, and the data set {tune.data!r} has none", place,
                              help=f"name the array with the true answers: data: {{{tune.data}: {{labels: ...}}}}",
                              also=((("data", tune.data), "no labels here"),))  # fmt: skip


def _limits(gate: Gate, label: str) -> bool:
    """Whether a build for a target may fail by the gate."""
    limits = gate.min is not None or gate.max is not None or gate.max_drop not in (None, "off")
    return limits and (gate.targets is None or label in gate.targets)


def _leaks(context: Context, name: str) -> Iterator[Diagnostic]:
    known = context.spec.data
    for read in context.reads if name in known else ():
        if read.slot != "data" or read.dataset not in known or not (read.use.measures or read.use.changes_model):
            continue
        if context.content(read.dataset) != context.content(name):
            continue
        same = read.dataset == name
        what = f"the data set {name!r}" if same else f"the data sets {name!r} and {read.dataset!r}, which are one file,"
        fitted = read.use.changes_model
        yield context.problem(
            "MS303",
            f"{what} serve{'s' if same else ''} tune and {read.use.stage.name} alike",
            ("tune", "data"),
            also=((read.place, "also read here"),),
            why="among models that were fitted to these data, the best on them is the one that was fitted most"
            if fitted
            else "a model that was chosen by its evaluation data looks better than it is",
            help="use another data set here",
        )
        return


def _objective(context: Context, tune: Tune) -> Iterator[Diagnostic]:
    place: Place = ("tune", "objective")
    produced = gate_rules.produced(context)
    metric = METRICS.get(tune.objective)
    if metric is None and tune.objective in produced:
        yield context.problem("MS203", f"nothing says which way {tune.objective!r} is better", place,
                              help="name a metric of modelspec, such as size")  # fmt: skip
    elif metric is None:
        near = closest(tune.objective, METRICS)
        yield context.problem("MS203", f"{tune.objective!r} is not a metric", place,
                              help=f"did you mean {near!r}?" if near else f"measured are: {', '.join(produced)}")  # fmt: skip
    elif tune.objective not in produced:
        fix = (
            f"add {metric.made_by}: {metric.block}, which measures it"
            if metric.made_by != "evaluate"
            else f"add it to evaluate.metrics: [{tune.objective}]"
        )
        yield context.problem("MS307", f"nothing measures {tune.objective!r}", place, help=fix)


def _sampler(context: Context, tune: Tune) -> Iterator[Diagnostic]:
    """Nothing about the search is written where there is none, and a grid has all its points."""
    written = [name for name in ("sampler", "trials", "seed") if name in tune.model_fields_set]
    if not tune.search:
        for name in written:
            yield context.problem("MS319", f"{name!r} has no effect: there is no search", ("tune", name), key=True,
                                  help="add search: {...}, or remove it")  # fmt: skip
        return
    if tune.sampler != "grid":
        return
    for name in (name for name in written if name != "sampler"):
        yield context.problem("MS319", f"{name!r} has no effect: a grid tries every combination", ("tune", name), key=True,
                              help="remove it, or write sampler: tpe")  # fmt: skip
    sizes = []
    for path, values in tune.search.items():
        listed = values.values() if isinstance(values, Range) else values
        if listed is None:
            yield context.problem("MS205", f"{path!r} has no end of values, and a grid tries all", ("tune", "search", path),
                                  help="add step, write a list, or write sampler: tpe")  # fmt: skip
            return
        sizes.append(len(listed))
    if prod(sizes) > MOST_POINTS:
        yield context.problem("MS205", f"the grid has {prod(sizes)} points, and at most {MOST_POINTS} are tried", ("tune", "search"),
                              help="try fewer values, or write sampler: tpe", key=True)  # fmt: skip


def _search(context: Context, tune: Tune, document: yaml.Document) -> Iterator[Diagnostic]:
    """Each key is one that the model depends on, and each value one that it may have."""
    places = {path: place_of(path, document.data) for path in tune.search}
    for path, place in places.items():
        written: Place = ("tune", "search", path)
        judged = place[:2] == ("data", tune.data)
        if place[0] in _FIXED or judged:
            why = "is what judges the model" if judged else _FIXED[str(place[0])]
            yield context.problem("MS319", f"{path!r} cannot be searched: {'.'.join(map(str, place[: 1 + judged]))} {why}", written, key=True,
                                  help="search a key that the model depends on, such as quantize.int8.ranges")  # fmt: skip
            continue
        yield from _Key(context, tune, document, places, path).problems()


def _samples(values: Any) -> Iterator[tuple[str | int, Any]]:
    """The values of a list, and of a range those at its ends, each with the key or the number where it is written."""
    if not isinstance(values, Range):
        yield from enumerate(values)
        return
    kind = int if values.is_whole else float
    for end in ("low", "high"):
        yield end, kind(getattr(values, end))


class _Key:
    """One key of the search, tried out on the spec."""

    def __init__(
        self, context: Context, tune: Tune, document: yaml.Document, places: dict[str, Place], path: str
    ) -> None:
        self.context, self.document, self.places = context, document, places
        self.place, self.written = places[path], ("tune", "search", path)
        values = tune.search[path]
        self.tried = [((*self.written, where), value) for where, value in _samples(values)]
        self.others = {
            places[name]: other.low if isinstance(other, Range) else other[0]
            for name, other in tune.search.items()
            if name != path
        }

    def problems(self) -> Iterator[Diagnostic]:
        if missing := self._missing_item():
            yield missing
            return
        found: dict[Diagnostic, None] = {}
        effects: list[Any] = []
        seen: list[Any] = []
        for place, value in self.tried:
            if any(value == other and type(value) is type(other) for other in seen):
                yield self.context.problem("MS319", f"{value!r} is tried already", place, help="remove it")
            seen.append(value)
            refused, spec = self._with(value, place)
            found |= dict.fromkeys(refused)
            effects.append(_target_of(spec) if spec else None)
        yield from found
        if not found and len(effects) > 1 and None not in effects and all(one == effects[0] for one in effects):
            label = self.context.spec.targets[chosen_target(self.context.spec)].label
            yield self.context.problem("MS319", f"{self.written[2]!r} has no effect on {label}", self.written, key=True,
                                       help="remove it, or name another target")  # fmt: skip

    def _missing_item(self) -> Diagnostic | None:
        value = self.document.data
        for depth, part in enumerate(self.place):
            if isinstance(value, tuple) and not (isinstance(part, int) and part < len(value)):
                name = ".".join(map(str, self.place[:depth]))
                return self.context.problem("MS201", f"{name} has no item {part!r}", self.written, key=True,
                                            help=f"its items count from 0, up to {len(value) - 1}")  # fmt: skip
            try:
                value = value[part]
            except (KeyError, TypeError):
                value = None
        return None

    def _with(self, value: Any, written: Place) -> tuple[list[Diagnostic], ModelSpec | None]:
        """What the schema says against a value, and the spec that has it where it says nothing."""
        kind, data = model(), with_value(self.document.data, self.place, value)
        try:
            return [], kind.model_validate(data)
        except ValidationError as error:
            first = error
        for place, other in sorted({**self.others, self.place: value}.items(), key=lambda one: len(one[0])):
            data = with_value(data, place, other)
        try:
            kind.model_validate(data)
        except ValidationError:
            return list(self._told(first, value, written)), None
        return [], None

    def _told(self, error: ValidationError, value: Any, written: Place) -> Iterator[Diagnostic]:
        """The problems of this key; what the change means for the keys beside it shows in a trial."""
        from modelspec.spec import shape

        document = _replaced(self.document, self.place, value, written)
        for problem in shape.problems(error, model(), document):
            length = min(len(problem.path), len(self.place))
            if problem.path[:length] != self.place[:length]:
                continue
            if problem.code == "MS201" and (near := self._written_near(problem.path)):
                problem = problem.at(help=f"did you mean {near!r}?")
            yield problem.at(path=self.written)

    def _written_near(self, place: Place) -> str | None:
        """A key beside an unknown one: in a search it is no mistake to name one that is written."""
        value = self.document.data
        for part in place[:-1]:
            value = value.get(part) if isinstance(value, dict) else None
        return closest(str(place[-1]), value) if isinstance(value, dict) else None


def _replaced(document: yaml.Document, place: Place, value: Any, written: Place) -> yaml.Document:
    """The document with another value at a place; what is said of it is shown where the value is `written`."""
    old = document.positions
    keys, values = dict(old.keys), {p: span for p, span in old.values.items() if p[: len(place)] != place}
    for length in range(1, len(place) + 1):
        if length == len(place) or place[:length] not in keys:
            keys[place[:length]] = old.key(written[:3])
            values.setdefault(place[:length], old.key(written[:3]))
    for p, span in old.values.items():
        if p[: len(written)] == written:
            values[(*place, *p[len(written) :])] = span
    keys |= {
        (*place, *p[len(written) :]): span
        for p, span in old.keys.items()
        if p[: len(written)] == written and len(p) > len(written)
    }
    long = {p for p in old.long if p[: len(place)] != place}
    long |= {(*place, *p[len(written) :]) for p in old.long if p[: len(written)] == written}
    data = with_value(document.data, place, value)
    return document._replace(data=data, positions=Positions(keys, values, frozenset(long)))


def _target_of(spec: ModelSpec) -> Any:
    """Everything that the build of the tuned target depends on."""
    index = chosen_target(spec)
    context = Context(spec, Positions())
    stages = [use.stage.model_dump() for use in context.uses if use.request.index == index]
    return [stages, spec.source, spec.signature, spec.data, spec.targets[index].keyed()]
