"""Writes the JSON Schema of model.yaml from the models, in a shape in which editors give good messages."""

import json
from collections.abc import Mapping
from typing import Any

from modelspec.spec.model import model
from modelspec.spec.union import file_named

SCHEMA_ID = "urn:modelspec:schema:v1"
"""A name, not an address: `modelspec init` puts the schema beside the spec, so that editors need no network."""

FILE_NAME = "modelspec-v1.schema.json"

_Schema = dict[str, Any]


def build() -> _Schema:
    """The schema of version 1, as draft 07: the newest that YAML editors read in full."""
    written = model().model_json_schema(mode="validation", ref_template="#/definitions/{model}")
    definitions = {name: _rewritten(part) for name, part in sorted(written.pop("$defs", {}).items())}
    root = _rewritten(written)
    for field in root["properties"].values():
        if not field.get("examples"):
            field["examples"] = [_example(field, definitions)]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": SCHEMA_ID,
        "title": "modelspec model.yaml, version 1",
        **{key: value for key, value in root.items() if key != "title"},
        "definitions": definitions,
    }


def _rewritten(node: Any, *, named: bool = False) -> Any:
    """A node in the form of draft 07; `named` for a mapping of names, whose keys are not keywords."""
    if isinstance(node, list):
        return [_rewritten(item) for item in node]
    if not isinstance(node, dict):
        return node
    if named:
        return {name: _rewritten(item) for name, item in node.items()}
    node = _without_null(dict(node))
    literal = {"default", "examples", "const", "enum"}
    result = {
        key: value if key in literal else _rewritten(value, named=key in {"properties", "patternProperties"})
        for key, value in node.items()
        if not (key == "title" and isinstance(value, str))
    }
    return _union(_short_form(_scalar(_names(_tuple(_reference(result))))))


def _without_null(node: _Schema) -> _Schema:
    """A key that may be left out may not be written without a value."""
    if node.get("default", ...) is None:
        del node["default"]
        options = [option for option in node.get("anyOf", ()) if option != {"type": "null"}]
        if "anyOf" in node and len(options) == 1:
            del node["anyOf"]
            return {**options[0], **node}
        if options:
            node["anyOf"] = options
    return node


def _tuple(node: _Schema) -> _Schema:
    """Items by position are spelled differently in draft 07."""
    if "prefixItems" in node:
        node["items"] = node.pop("prefixItems")
        node["additionalItems"] = False
    return node


def _names(node: _Schema) -> _Schema:
    """Names that do not have the form of a name are refused."""
    if "patternProperties" in node and "additionalProperties" not in node:
        node["additionalProperties"] = False
    return node


def _scalar(node: _Schema) -> _Schema:
    """Alternatives of different plain types are one: each keyword speaks of its own type, and so does the message."""
    options = node.get("anyOf", [])
    kinds = [option.get("type") for option in options]
    if not options or len({*kinds} & {"number", "integer", "string", "boolean"}) != len(options):
        return node
    del node["anyOf"]
    return {**node, **{key: value for option in options for key, value in option.items()}, "type": kinds}


def _short_form(node: _Schema) -> _Schema:
    """A path or a list, or a mapping in its place: an editor then speaks of the one that is written."""
    options = node.get("oneOf", [])
    kind = options[0].get("type") if len(options) == 2 else None
    if kind not in {"string", "array"} or set(options[1]) != {"$ref"}:
        return node
    del node["oneOf"]
    return {**node, **options[0], "type": [kind, "object"], "if": {"type": "object"}, "then": options[1]}


def _reference(node: _Schema) -> _Schema:
    """Draft 07 ignores what stands beside a reference."""
    if "$ref" in node and len(node) > 1:
        return {"allOf": [{"$ref": node.pop("$ref")}], **node}
    return node


def _union(node: _Schema) -> _Schema:
    """Alternatives told apart by a tag: an editor then speaks of the one that is meant, not of all of them."""
    found = node.pop("x-one-of", None)
    if found is None and "discriminator" in node:
        discriminator = node.pop("discriminator")
        mapping = discriminator["mapping"]
        found = {
            "tag": discriminator["propertyName"],
            "choices": {n: {"$ref": r} for n, r in mapping.items()},
            "infer": [],
        }
    if found is None:
        return node
    node.pop("oneOf", None)
    return {**node, **_tagged(found["tag"], found["choices"], found["infer"])}


def _tagged(tag: str, choices: Mapping[str, _Schema], infer: list[Mapping[str, Any]]) -> _Schema:
    branches = [
        {"if": {"type": "object", "properties": {tag: {"const": name}}, "required": [tag]}, "then": choice}
        for name, choice in choices.items()
    ]
    branches += [
        {"if": {"type": "object", "not": {"required": [tag]}, **guess["when"]}, "then": choices[guess["choice"]]}
        for guess in infer
    ]
    schema: _Schema = {
        "type": "object",
        "properties": {tag: {"enum": list(choices), "description": f"One of: {', '.join(choices)}."}},
        "allOf": branches,
    }
    if infer:
        branches.append(_untold(tag, [guess["when"] for guess in infer]))
    else:
        schema["required"] = [tag]
    return schema


def _untold(tag: str, conditions: list[_Schema]) -> _Schema:
    """What is asked for where no key tells the choice: a file whose suffix does."""
    told = [{"required": [tag]}, *(when for when in conditions if "properties" not in when)]
    patterns = (when["properties"]["path"]["pattern"] for when in conditions if "properties" in when)
    path = {
        **file_named("|".join(pattern.removesuffix("$") for pattern in patterns)),
        "description": "The file; its suffix tells the format.",
        "examples": ["test.npz"],
    }
    return {
        "if": {"type": "object", "not": {"anyOf": told}},
        "then": {"required": ["path"], "properties": {"path": path}},
    }


def _example(node: _Schema, definitions: Mapping[str, _Schema]) -> Any:
    """A small value that fits a node: its own example, or one made of those inside."""
    if "$ref" in node:
        return _example(definitions[node["$ref"].rpartition("/")[2]], definitions)
    for key in ("examples", "enum"):
        if node.get(key):
            return node[key][0]
    if "const" in node:
        return node["const"]
    if "if" in node.get("allOf", [{}])[0]:
        branch = node["allOf"][0]
        tag = {name: field["const"] for name, field in branch["if"]["properties"].items()}
        wanted = definitions[branch["then"]["$ref"].rpartition("/")[2]]
        return {**tag, **{n: _example(wanted["properties"][n], definitions) for n in wanted.get("required", ())}}
    if "allOf" in node:
        return _example(node["allOf"][0], definitions)
    if "propertyNames" in node:
        return {_example(node["propertyNames"], definitions): _example(node["additionalProperties"], definitions)}
    fields = node.get("properties", {})
    return {name: _example(fields[name], definitions) for name in node.get("required") or list(fields)[:2]}


def as_text() -> str:
    """The schema as it is committed and printed."""
    return json.dumps(build(), indent=2, ensure_ascii=False) + "\n"
