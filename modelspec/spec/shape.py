"""What pydantic says of a document -> diagnostics: at the place that is wrong, in the words of the spec, one for each problem."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from modelspec.errors import CODES, Diagnostic
from modelspec.options import Options
from modelspec.spec.phrases import called, example_of, kind_of
from modelspec.spec.positions import Place, Positions
from modelspec.spec.trace import Traced, field_of, keys_of, literals, members, tag_field, trace
from modelspec.spec.union import own_keys
from modelspec.spec.yaml import MAX_PROBLEMS, Document
from modelspec.words import closest, foreign

_WANTED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "union_tag_not_found": "a mapping",
}
PRECISIONS = frozenset({"fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "fp4", "int16", "int8", "int4"})
"""Precisions that some device offers: to ask for one elsewhere is no misspelling."""

_SYMBOLS = {"greater_than_equal": "ge", "greater_than": "gt", "less_than_equal": "le", "less_than": "lt"}
_BOUNDS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}
_LENGTHS = {
    "too_short": "min_length",
    "too_long": "max_length",
    "string_too_short": "min_length",
    "string_too_long": "max_length",
}


@dataclass(frozen=True)
class _Found:
    """One error of pydantic's, with the place it is about."""

    at: Traced
    kind: str
    value: Any
    context: dict[str, Any]
    message: str


def problems(error: ValidationError, root: type[Options], document: Document) -> list[Diagnostic]:
    """The diagnostics of `error`; those about a value that was refused before are left out."""
    found = [
        _Found(trace(root, tuple(e["loc"])), e["type"], e["input"], dict(e.get("ctx", {})), e["msg"])
        for e in error.errors(include_url=False)[:MAX_PROBLEMS]
    ]
    writer = _Writer(document)
    return [problem for problem in writer.all(found) if not _in_broken(problem.path, document.broken)]


def _in_broken(place: Place, broken: frozenset[Place]) -> bool:
    return any(place[:length] in broken for length in range(len(place) + 1))


def _is_noise(one: _Found) -> bool:
    """A list counts as too short when its items are refused; those have said so already."""
    return one.kind == "too_short" and isinstance(one.value, tuple) and len(one.value) >= one.context["min_length"]


class _Writer:
    def __init__(self, document: Document) -> None:
        self.data: Any = document.data
        self.lines = document.lines
        self.positions: Positions = document.positions

    def all(self, found: Sequence[_Found]) -> Iterable[Diagnostic]:
        by_place: dict[Place, list[_Found]] = defaultdict(list)
        unknown: dict[Place, list[_Found]] = defaultdict(list)
        missing: dict[Place, list[_Found]] = defaultdict(list)
        for one in found:
            if _is_noise(one):
                continue
            if one.kind == "extra_forbidden":
                unknown[one.at.place[:-1]].append(one)
            elif one.kind == "missing":
                missing[one.at.place[:-1]].append(one)
            else:
                by_place[one.at.place].append(one)
        for parent in dict.fromkeys((*unknown, *missing)):
            yield from self.keys(parent, unknown[parent], missing[parent])
        for several in by_place.values():
            yield self.value(several)

    def keys(self, parent: Place, unknown: list[_Found], missing: list[_Found]) -> Iterable[Diagnostic]:
        """Unknown and missing keys of one mapping; a misspelt key and the one it stands for are one problem."""
        absent = [str(one.at.place[-1]) for one in missing]
        for one in unknown:
            key = str(one.at.place[-1])
            meant = closest(key, absent)
            required = meant is not None
            if meant is not None:
                absent.remove(meant)
            else:
                written = self.at(parent)
                meant = closest(key, [k for k in keys_of(one.at.owner) if k not in written]) if one.at.owner else None
            yield self.unknown(one, key, meant, required=required)
        if absent:
            owner = next(one.at.owner for one in missing)
            yield self.missing(parent, absent, owner)

    def unknown(self, one: _Found, key: str, meant: str | None, *, required: bool) -> Diagnostic:
        known = keys_of(one.at.owner) if one.at.owner else []
        fix = f"did you mean {meant!r}?" if meant else f"the keys here are: {', '.join(known)}"
        label = f"the key {meant!r} is missing" if required else foreign(key)
        place = one.at.place
        return Diagnostic(
            "MS201", f"unknown key {key!r}", help=fix, label=label, span=self.positions.key(place), path=place
        )

    def missing(self, parent: Place, absent: list[str], owner: type[Options] | None) -> Diagnostic:
        names = ", ".join(repr(name) for name in absent)
        where = f" in {called(parent)}" if parent else ""
        example = ", ".join(f"{name}: {example_of(owner, name)}" for name in absent)
        return Diagnostic(
            "MS202",
            f"missing key{'s' if len(absent) > 1 else ''} {names}{where}",
            help=f"add {example}",
            span=self.positions.key(parent),
            path=parent,
        )

    def value(self, several: list[_Found]) -> Diagnostic:
        """The problem of one value; alternatives of a union that all refuse it are put together."""
        own = next((one for one in several if one.kind in CODES), None)
        one = own or several[0]
        place, name = one.at.place, called(one.at.place)
        if own:
            key = own.at.is_key
            span = self.positions.key(place) if key else self.positions.value(place)
            return Diagnostic(own.kind, own.message, help=str(own.context.get("help", "")), span=span, path=place)
        if one.kind in {"union_tag_invalid", "union_tag_not_found"}:
            return self.tag(one)
        if one.kind in {"literal_error", "enum"}:
            known = literals(one.at.annotation)
            return self.key_choice(place, known) if one.at.is_key else self.choice(place, one.value, known)
        if one.kind in _WANTED:
            wanted = " or ".join(dict.fromkeys(_WANTED[o.kind] for o in several if o.kind in _WANTED))
            return self.type(place, name, wanted, one.value)
        if one.kind in _SYMBOLS:
            symbol = _SYMBOLS[one.kind]
            bound = _BOUNDS[symbol].format(one.context[symbol])
            return self.plain(
                "MS205",
                f"{name} must be {bound}",
                place,
                f"write a number {bound}"
                if "at" not in bound
                else f"write {bound.removeprefix('at least ').removeprefix('at most ')} or {'more' if 'least' in bound else 'less'}",
            )
        if one.kind in _LENGTHS:
            return self.length(one, name)
        if one.kind == "string_pattern_mismatch":
            return self.pattern(one, name)
        return self.plain("MS206", f"{name}: {one.message[:1].lower()}{one.message[1:]}", place, "")

    def plain(self, code: str, message: str, place: Place, fix: str, label: str = "") -> Diagnostic:
        return Diagnostic(code, message, help=fix, label=label, span=self.positions.value(place), path=place)

    def tag(self, one: _Found) -> Diagnostic:
        """The key that tells what the rest is, missing or with an unknown value."""
        place, tag = one.at.place, tag_field(one.at.annotation)
        if not isinstance(one.value, dict) or tag is None:
            return self.type(place, called(place), "a mapping", one.value)
        known = sorted({name for name, _ in members(one.at.annotation) if name})
        if tag in one.value:
            if isinstance(one.value[tag], str):
                return self.choice((*place, tag), one.value[tag], known)
            return self.type((*place, tag), f"'{tag}'", "a string", one.value[tag])
        if place[:1] == ("data",):
            return self.no_loader(place, one.value, one.at.annotation)
        near = closest(tag, [key for key in one.value if field_of(one.at.kind or Options, key) is None])
        if near:
            span = self.positions.key((*place, near))
            return Diagnostic("MS201", f"unknown key {near!r}", help=f"did you mean {tag!r}?", label=f"the key {tag!r} is missing",
                              span=span, path=(*place, near))  # fmt: skip
        return Diagnostic("MS202", f"missing key '{tag}' in {called(place)}", help=f"add {tag}: {known[0]} (or {', '.join(known[1:])})" if known[1:]
                          else f"add {tag}: {''.join(known)}", span=self.positions.key(place), path=place)  # fmt: skip

    def no_loader(self, place: Place, value: dict[str, Any], annotation: Any, key: str = "path") -> Diagnostic:
        """No file whose suffix tells the loader; `key` is the one that names it."""
        suffixes = sorted({s for _, kind in members(annotation) for s in getattr(kind, "suffixes", ())})
        if key == "path" and isinstance(value.get(key), dict):
            return self.no_loader((*place, key), value[key], annotation, "uri")
        if isinstance(value.get(key), str):
            return self.plain("MS321", f"no loader reads {value[key]!r}", (*place, key),
                              f"use a file ending in {', '.join(suffixes)}; or write loader: \"file.py:callable\"")  # fmt: skip
        if key in value:
            return self.type((*place, key), f"'{key}'", "a string", value[key])
        example = f"data.{suffixes[0].lstrip('.')}" if suffixes else "data.npz"
        loaders = (key for _, kind in members(annotation) if not kind.suffixes for key in own_keys(kind))
        for missing in (key, *(loaders if key == "path" else ())):
            if near := closest(missing, value):
                return Diagnostic("MS201", f"unknown key {near!r}", help=f"did you mean {missing!r}?", label=f"the key {missing!r} is missing",
                                  span=self.positions.key((*place, near)), path=(*place, near))  # fmt: skip
        fix = (
            f'add path: {example}, or loader: "data.py:load"'
            if key == "path"
            else f"add uri: https://example.com/{example}"
        )
        return Diagnostic("MS202", f"missing key '{key}' in {called(place)}", help=fix,
                          span=self.positions.key(place), path=place)  # fmt: skip

    def key_choice(self, place: Place, known: list[str]) -> Diagnostic:
        near = closest(str(place[-1]), known)
        fix = f"did you mean {near!r}?" if near else f"the keys here are: {', '.join(known)}"
        return Diagnostic("MS201", f"unknown key {place[-1]!r}", help=fix, label=foreign(str(place[-1])),
                          span=self.positions.key(place), path=place)  # fmt: skip

    def choice(self, place: Place, value: Any, known: list[str]) -> Diagnostic:
        if value is None:
            return self.type(place, called(place), "a string", value)
        if isinstance(value, dict | tuple):
            message = f"{called(place)} must be a string, not {kind_of(value)}"
            return self.plain("MS204", message, place, f"write one of: {', '.join(known)}")
        if place[:1] == ("targets",) and place[2:] == ("precision",) and value in PRECISIONS:
            return self.precision(place, value, known)
        shown = repr(value) if isinstance(value, str) else self.source(place) or json.dumps(value)
        near = closest(str(value), known)
        fix = f"did you mean {near!r}?" if near else f"write one of: {', '.join(known)}"
        return self.plain(
            "MS203",
            f"{shown} is not an allowed value of {called(place)}",
            place,
            fix,
            foreign(str(value)) or f"expected one of {', '.join(known)}",
        )

    def precision(self, place: Place, value: str, known: list[str]) -> Diagnostic:
        """A precision that exists, on a device that does not offer it."""
        device = self.at(place[:-1])["device"]
        offered = ", ".join(known)
        return self.plain(
            "MS305", f"{device} does not offer {value}", place, f"write one of: {offered}", f"{device} offers {offered}"
        )

    def type(self, place: Place, name: str, wanted: str, value: Any) -> Diagnostic:
        if value is None:
            what = "it" if isinstance(place[-1], int) else "the key"
            return self.plain("MS204", f"{name} has no value", place, f"write {wanted}, or remove {what}")
        got = kind_of(value)
        fix = f"write {wanted}"
        if "a string" in wanted and isinstance(value, bool | int | float):
            fix = f'quote it: "{self.source(place)}"'
        elif wanted in {"a whole number", "a number", "true or false"} and isinstance(value, str):
            fix = f"write {wanted}, without quotes" if self.source(place)[:1] in {'"', "'"} else fix
        elif wanted == "a list" and not isinstance(value, dict):
            fix = f"write it in brackets: [{self.source(place)}]"
        return self.plain("MS204", f"{name} must be {wanted}, not {got}", place, fix)

    def length(self, one: _Found, name: str) -> Diagnostic:
        bound = one.context[_LENGTHS[one.kind]]
        amount = f"{'at least' if 'short' in one.kind else 'at most'} {bound}"
        unit = "character" if one.kind.startswith("string") else "item"
        example = example_of(one.at.owner, str(one.at.place[-1])) if one.at.place else ""
        return self.plain(
            "MS205",
            f"{name} must have {amount} {unit}{'' if bound == 1 else 's'}",
            one.at.place,
            f"for example: {example}",
        )

    def pattern(self, one: _Found, name: str) -> Diagnostic:
        place = one.at.place
        span = self.positions.key(place) if one.at.is_key else self.positions.value(place)
        label = f"it must match {one.context['pattern']}"
        shown = repr(one.value)[:80]
        return Diagnostic("MS206", f"{shown} is not a name: only lower-case letters, digits and inner dashes" if "a-z0-9-" in label
                          else f"{name} does not have the required form: {shown}", help=self.form(one), label=label, span=span, path=place)  # fmt: skip

    def form(self, one: _Found) -> str:
        suggestion = "".join(c if c.isalnum() and c.isascii() else "-" for c in str(one.value).lower()).strip("-")[:63]
        return f"for example: {suggestion or 'model'}"

    def at(self, place: Place) -> Any:
        """The value that is written at a place."""
        value = self.data
        for part in place:
            value = value[part]
        return value

    def source(self, place: Place) -> str:
        """The text of a value, where it stands on one line."""
        span = self.positions.values.get(place)
        if span is None or place in self.positions.long:
            return ""
        return self.lines[span.line - 1][span.column - 1 : span.end_column - 1]
