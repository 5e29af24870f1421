"""What the rules look at: the spec, where it is written, and which stages each target asks for."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

from modelspec import registry
from modelspec.errors import Diagnostic, ModelspecError
from modelspec.options import Options
from modelspec.remote import Remote
from modelspec.spec.model import ModelSpec
from modelspec.spec.positions import Place, Positions
from modelspec.stage import Request, Stage


class Use(NamedTuple):
    """A stage that is asked for, for one target."""

    request: Request
    stage: Stage
    origin: Place

    @property
    def measures(self) -> bool:
        """Whether it tells how good the model is."""
        return "metrics" in self.stage.gives

    @property
    def changes_model(self) -> bool:
        """Whether the model learns from what it reads."""
        return not {"model", "changes"}.isdisjoint(self.stage.gives)


class Read(NamedTuple):
    """A stage that reads a data set."""

    use: Use
    slot: str
    dataset: str
    place: Place
    """Where the data set is named."""


class Context:
    """The spec, with what follows from it."""

    def __init__(self, spec: ModelSpec, positions: Positions) -> None:
        self.spec = spec
        self.positions = positions

    def problem(
        self,
        code: str,
        message: str,
        place: Place,
        *,
        help: str = "",
        why: str = "",
        label: str = "",
        key: bool = False,
        also: tuple[tuple[Place, str], ...] = (),
    ) -> Diagnostic:
        """A diagnostic at a place of the spec; `key` marks the key instead of the value."""
        span = self.positions.key(place) if key else self.positions.value(place)
        others = tuple((self.positions.value(other), text) for other, text in also)
        return Diagnostic(code, message, help=help, why=why, label=label, span=span, also=others, path=place)

    def request(self, index: int) -> Request:
        """What the stages are asked with for a target."""
        return self.spec.request(index)

    @cached_property
    def uses(self) -> tuple[Use, ...]:
        """Every stage of every target; a stage that refuses its options is left to `refusals`."""
        return tuple(item for item in self._configured if isinstance(item, Use))

    @cached_property
    def refusals(self) -> tuple[Diagnostic, ...]:
        """What the stages themselves say against their options."""
        found = [item for item in self._configured if isinstance(item, Diagnostic)]
        return tuple(dict.fromkeys(found))

    @cached_property
    def _configured(self) -> tuple[Use | Diagnostic, ...]:
        return tuple(item for index in range(len(self.spec.targets)) for item in self._of(index))

    def _of(self, index: int) -> Iterator[Use | Diagnostic]:
        request = self.request(index)
        for kind in registry.stages().values():
            if kind.provides:
                continue
            try:
                stage = kind.configure(request)
            except ModelspecError as error:
                yield from error.diagnostics
                continue
            if stage is not None:
                yield Use(request, stage, tuple(kind.origin(request)))

    @cached_property
    def reads(self) -> tuple[Read, ...]:
        """Every data set that a stage reads."""
        return tuple(
            Read(use, kind, dataset, self.named_at(use.origin, dataset))
            for use in self.uses
            for kind, colon, dataset in (slot.partition(":") for slot in use.stage.inputs(use.request).values())
            if colon
        )

    def content(self, name: str) -> Any:
        """What tells whether two data sets are one."""
        loader = self.spec.data[name]
        named = tuple(getattr(loader, field) for field in loader.paths)
        named = tuple(file.sha256 if isinstance(file, Remote) else str(file) for file in named)
        return (*named, *loader.entrypoints()) if named else name

    def named_at(self, origin: Place, name: str) -> Place:
        """The place under `origin` where the word `name` is written; `origin` itself when it is not."""
        value: Any = self.spec
        for part in origin:
            value = getattr(value, str(part), None) if isinstance(value, Options) else _item(value, part)
        return next((origin + rest for rest, word in _words(value) if word == name), origin)


def _item(value: Any, part: str | int) -> Any:
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return None


def _words(value: Any) -> Iterator[tuple[Place, str]]:
    """Every string inside a value, with its place."""
    if isinstance(value, str):
        yield (), value
        return
    items: Any = ()
    if isinstance(value, Options):
        items = [(field.alias or name, getattr(value, name)) for name, field in type(value).model_fields.items()]
    elif isinstance(value, dict):
        items = value.items()
    elif isinstance(value, tuple):
        items = enumerate(value)
    for key, item in items:
        for rest, word in _words(item):
            yield (key, *rest), word


def words_in(value: Any) -> set[str]:
    """Every string inside a value."""
    return {word for _, word in _words(value)}
