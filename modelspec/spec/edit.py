"""Changes values in the text of a spec, and nothing else: comments, order and layout stay as they were written.

A library that reads and writes YAML with its comments (ruamel.yaml) would lay the whole file out anew; here every
character outside the changed values stays, and what comes out is read again and compared with what was meant.
"""

import json
from collections.abc import Mapping
from typing import Any

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from modelspec.errors import fail
from modelspec.spec import yaml as strict
from modelspec.spec.positions import Place
from modelspec.spec.text import decode
from modelspec.spec.tune import with_value

_BOM = b"\xef\xbb\xbf"


def edited(raw: bytes, changes: Mapping[Place, Any]) -> bytes:
    """The text of a valid spec with other values at some places; keys that are not written yet are added.

    What is inside a value is put there after the value itself. Raises MS201 for the item of a list that is too short.
    """
    text, _ = decode(raw)
    meant = strict.parse(raw).data
    for place, value in sorted(changes.items(), key=lambda change: len(change[0])):
        text = _with(text, place, value)
        meant = with_value(meant, place, value)
    made = (_BOM if raw.startswith(_BOM) else b"") + text.encode()
    assert strict.parse(made).data == meant, "an edited spec says what was meant"
    return made


def _with(text: str, place: Place, value: Any) -> str:
    composed = yaml.compose(text, Loader=yaml.SafeLoader)
    assert composed is not None, "a spec is not empty"
    node, around = composed, composed
    for depth, part in enumerate(place):
        inner = _child(node, part)
        if inner is None:
            if any(isinstance(key, int) for key in place[depth:]):
                name = ".".join(map(str, place))
                raise fail("MS201", f"there is no item {name}", help="the items of a list count from 0", path=place)
            for key in reversed(place[depth + 1 :]):
                value = {key: value}
            if isinstance(node, MappingNode):
                return _with_key(text, node, str(part), value)
            place, value = place[:depth], {part: value}
            break
        around, node = node, inner
    if isinstance(node, CollectionNode) and not node.flow_style and isinstance(around, MappingNode):
        return _instead_of_block(text, _key_end(around, place[-1]), node, value)
    start, end = node.start_mark.index, _end(node, text)
    return text[:start] + flow(value) + text[end:]


def _instead_of_block(text: str, key_end: int, node: CollectionNode, value: Any) -> str:
    """The lines of a list or mapping go, and its new value goes to the line of its key."""
    end = _line_end(text, _end(node, text))
    colon = text.index(":", key_end) + 1
    start = text.rindex("\n", 0, node.start_mark.index)
    start -= text[start - 1] == "\r"
    return f"{text[:colon]} {flow(value)}{text[colon:start]}{text[end:]}"


def _line_end(text: str, index: int) -> int:
    """The end of a line, which may hold a comment."""
    ends = (text.find("\n", index), text.find("\r", index))
    return min((end for end in ends if end >= 0), default=len(text))


def _key_end(node: MappingNode, name: str | int) -> int:
    return next(int(key.end_mark.index) for key, _ in node.value if key.value == name)


def _child(node: Node, part: str | int) -> Node | None:
    if isinstance(node, SequenceNode) and isinstance(part, int):
        return node.value[part] if part < len(node.value) else None
    if isinstance(node, MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    return None


def _with_key(text: str, node: MappingNode, key: str, value: Any) -> str:
    """Add a key as the last one of a mapping, in the form the mapping has."""
    added = f"{_scalar(key)}: {flow(value)}"
    if node.flow_style:
        if not node.value:
            at = node.start_mark.index + 1
            return text[:at] + added + text[at:]
        at = _end(node.value[-1][1], text)
        return f"{text[:at]}, {added}{text[at:]}"
    newline = "\r\n" if "\r\n" in text else "\n"
    last = _end(node.value[-1][1], text)
    at = _line_end(text, last)
    indent = " " * node.value[0][0].start_mark.column
    return f"{text[:at]}{newline}{indent}{added}{text[at:]}"


def _end(node: Node, text: str) -> int:
    """Where the last character of a node is: of a collection in block form, the parser gives the next token's."""
    if isinstance(node, CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(node, MappingNode) else last, text)
    if isinstance(node, ScalarNode) and node.style in {"|", ">"}:
        return len(text[: node.end_mark.index].rstrip())
    return int(node.end_mark.index)


def flow(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    """A scalar, plain where that is read as the same value everywhere, and in quotes elsewhere."""
    if isinstance(value, float):
        mantissa, _, exponent = repr(value).partition("e")
        return f"{mantissa}{'' if '.' in mantissa else '.0'}e{exponent}" if exponent else mantissa
    if not isinstance(value, str):
        return json.dumps(value)
    plain = value.replace("_", "").replace("-", "").replace("/", "").replace(".", "")
    readers_agree = value[:1].isalpha() and plain.isascii() and plain.isalnum()
    if readers_agree and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""Plain words that some reader takes for something else than a string."""
