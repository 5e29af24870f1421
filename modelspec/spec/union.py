"""Tagged unions made of the classes in a registry; the tag may be told from the rest where it is left out."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic_core import CoreSchema, core_schema

from modelspec.options import Options

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue


def own_keys(kind: type[Options]) -> list[str]:
    """The keys that must be written; by them a choice is told that has no suffix."""
    return [name for name, field in kind.model_fields.items() if field.is_required()]


def _in_any_case(suffix: str) -> str:
    """A pattern for a suffix; the expressions of JSON Schema know no flags."""
    return "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else re.escape(c) for c in suffix)


def file_named(suffixes: str) -> dict[str, Any]:
    """The schema of a file with one of the suffixes: by its path, or by an address that ends in its name.

    Each keyword speaks of its own type, so that a message speaks of what is written.
    """
    address = {
        "type": "string",
        "pattern": rf"^[^?#]*({suffixes})([?#].*)?$",
        "description": "Where the file is; the suffix of its name tells the format.",
        "examples": ["https://example.com/test.npz"],
    }
    return {
        "type": ["string", "object"],
        "pattern": f"({suffixes})$",
        "properties": {"uri": address},
        "required": ["uri"],
    }


class OneOf:
    """Annotation: the value is one of `choices`, told apart by the key `tag`.

    `infer` tells the choice from a mapping without the tag, or gives None when it cannot.
    """

    def __init__(
        self, tag: str, choices: Mapping[str, type[Options]], infer: Callable[[Any], str | None] | None = None
    ) -> None:
        self.tag = tag
        self.choices = choices
        self.infer = infer

    def choice(self, value: Any) -> str | None:
        """The name of the class that reads `value`, or None when nothing says so."""
        if isinstance(value, Options):
            return next((name for name, kind in self.choices.items() if type(value) is kind), None)
        if not isinstance(value, dict):
            return None
        tag = value.get(self.tag)
        if tag is None and self.infer and self.tag not in value:
            return self.infer(value)
        return tag if isinstance(tag, str) else None

    def __get_pydantic_core_schema__(self, source: Any, handler: "GetCoreSchemaHandler") -> CoreSchema:
        choices = {name: handler.generate_schema(kind) for name, kind in self.choices.items()}
        return core_schema.tagged_union_schema(choices, discriminator=self.choice)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: "GetJsonSchemaHandler") -> "JsonSchemaValue":
        """Left for `spec.schema` to put into its final form."""
        written = handler(schema)
        alternatives = written.get("oneOf", [written])
        choices = dict(zip(self.choices, alternatives, strict=True))
        return {"x-one-of": {"tag": self.tag, "choices": choices, "infer": self.infer_schemas()}}

    def infer_schemas(self) -> list[dict[str, Any]]:
        """What `infer` goes by, as conditions of JSON Schema."""
        found: list[dict[str, Any]] = []
        for name, kind in self.choices.items() if self.infer else ():
            if suffixes := getattr(kind, "suffixes", ()):
                when = {"required": ["path"], "properties": {"path": file_named("|".join(map(_in_any_case, suffixes)))}}
            else:
                when = {"required": own_keys(kind)}
            found.append({"choice": name, "when": when})
        return found
