"""Follows a path of pydantic's through the models: which option it means, of which class, and which labels are noise."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Tag
from pydantic.fields import FieldInfo

from modelspec.options import Options
from modelspec.spec.positions import Place
from modelspec.spec.union import OneOf


@dataclass(frozen=True)
class Traced:
    """Where a path leads: the place in the file, and the class and annotation there, where they are known."""

    place: Place
    annotation: Any
    owner: type[Options] | None = None
    """The class whose field the last key is (or would be)."""
    is_key: bool = False
    """Whether the key itself is meant, not its value."""

    @property
    def field(self) -> FieldInfo | None:
        """The field that the last key names."""
        return field_of(self.owner, self.place[-1]) if self.owner and self.place else None

    @property
    def kind(self) -> type[Options] | None:
        """The class that reads the value here, where only one can."""
        return next((m for _, m in members(self.annotation) if _is_options(m)), None)


def field_of(owner: type[Options], key: str | int) -> FieldInfo | None:
    """The field written as `key`."""
    for name, field in owner.model_fields.items():
        if key == (field.alias or name):
            return field
    return None


def keys_of(owner: type[Options]) -> list[str]:
    """The keys a class reads, as they are written."""
    return [field.alias or name for name, field in owner.model_fields.items()]


def members(annotation: Any) -> list[tuple[str | None, Any]]:
    """The alternatives of an annotation, each with its tag where it has one; None is left out."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        if union := next((m for m in metadata if isinstance(m, OneOf)), None):
            return list(union.choices.items())
        tag = next((m.tag for m in metadata if isinstance(m, Tag)), None)
        return [(tag or name, member) for name, member in members(inner)]
    if origin in {Union, UnionType}:
        return [found for member in get_args(annotation) if member is not NoneType for found in members(member)]
    if _is_options(annotation):
        return [(_literal_tag(annotation), annotation)]
    return [(None, annotation)]


def trace(root: type[Options], loc: tuple[str | int, ...]) -> Traced:
    """Walk `loc` from `root`; union tags and the names of validators drop out."""
    place: list[str | int] = []
    annotation: Any = root
    owner: type[Options] | None = None
    key_annotation: Any = None
    for element in loc:
        if element == "[key]":
            return Traced(tuple(place), key_annotation, owner, is_key=True)
        alternatives = members(annotation)
        options = [(tag, member) for tag, member in alternatives if _is_options(member)]
        tagged = [member for tag, member in alternatives if element in {tag, getattr(member, "__name__", tag)}]
        if tagged and (len(alternatives) > 1 or isinstance(_metadata(annotation), OneOf)) and annotation is not root:
            annotation = tagged[0]
            continue
        if options:
            owner = options[0][1]
            field = field_of(owner, element)
            place.append(element)
            annotation = Annotated[field.annotation, *field.metadata, None] if field else None
            continue
        inner = _inside(annotation, element)
        if inner is None:
            continue
        key_annotation = _key_annotation(annotation)
        annotation, owner = inner[0], None
        place.append(element)
    return Traced(tuple(place), annotation, owner)


def _inside(annotation: Any, element: str | int) -> tuple[Any] | None:
    """The annotation of an item of a collection; None when no alternative is a collection with such items."""
    for _, member in members(annotation):
        origin, arguments = get_origin(member) or member, get_args(member)
        if origin is dict and isinstance(element, str):
            return (arguments[1] if arguments else Any,)
        if origin is tuple and isinstance(element, int):
            return (arguments[0] if arguments[1:] == (Ellipsis,) else arguments[min(element, len(arguments) - 1)],)
        if member is Any:
            return (Any,)
        if origin is not None and hasattr(origin, "__mro__") and "Mapping" in origin.__name__:
            return (arguments[1] if arguments else Any,)
    return None


def _key_annotation(annotation: Any) -> Any:
    return next((get_args(m)[0] for _, m in members(annotation) if get_origin(m) is dict), None)


def literals(annotation: Any) -> list[str]:
    """The values that are allowed, where they can be listed."""
    return [
        str(value) for _, member in members(annotation) if get_origin(member) is Literal for value in get_args(member)
    ]


def tag_field(annotation: Any) -> str | None:
    """The key that tells the alternatives of a union apart."""
    metadata = _metadata(annotation)
    if isinstance(metadata, OneOf):
        return metadata.tag
    for _, member in members(annotation):
        for name, field in _fields(member):
            if get_origin(field.annotation) is Literal:
                return field.alias or name
    return None


def _fields(member: Any) -> Iterator[tuple[str, FieldInfo]]:
    if _is_options(member):
        yield from member.model_fields.items()


def _metadata(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        return next((m for m in get_args(annotation)[1:] if isinstance(m, OneOf)), None)
    return None


def _literal_tag(kind: type[Options]) -> str | None:
    for field in kind.model_fields.values():
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1:
            return str(get_args(field.annotation)[0])
    return None


def _is_options(member: Any) -> bool:
    return isinstance(member, type) and issubclass(member, Options)
