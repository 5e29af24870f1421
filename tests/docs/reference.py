"""The pages of docs/ that say what the code says: `python -m tests.docs.reference` writes them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from modelspec.cli import Commands
from modelspec.errors import CODES
from modelspec.spec import schema

DOCS = Path(__file__).parent.parent.parent / "docs"

_Node = Mapping[str, Any]

WRITTEN = "Written by `python -m tests.docs.reference`; a test says when it is stale."


def keys() -> str:
    """Every key of model.yaml, from the JSON Schema."""
    whole = schema.build()
    definitions: Mapping[str, _Node] = whole["definitions"]
    lines = [
        "# Keys of model.yaml",
        "",
        f"{WRITTEN} The same is in `modelspec schema`, for editors. A key in **bold** has to be there.",
        "",
        *_table(whole, definitions),
    ]
    for name, block in whole["properties"].items():
        body = list(_section(block, definitions, name))
        if body:
            lines += ["", f"## {name}", "", _sentence(block["description"]), *body]
    lines += [
        "",
        "## A file elsewhere",
        "",
        "In the place of any path of a file:",
        "",
        *_table(definitions["Remote"], definitions),
    ]
    return "\n".join(lines) + "\n"


def _section(node: _Node, definitions: Mapping[str, _Node], path: str) -> Iterator[str]:
    """The tables of a block and of all blocks inside it, each under its path."""
    if _is_file(node):
        return
    node, path = _inner(node, definitions, path)
    if choices := _choices(node):
        tag = next(iter(choices[0]["if"]["properties"]))
        for choice in choices:
            chosen = definitions[choice["then"]["$ref"].rpartition("/")[2]]
            name = choice["if"]["properties"][tag]["const"]
            yield from ("", f"### {path}, `{tag}: {name}`", "", _sentence(chosen["description"]), "")
            yield from _table(chosen, definitions)
            yield from _inside(chosen, definitions, path)
    elif node.get("properties"):
        yield from ("", f"### {path}", "") if "." in path or "[" in path else ("",)
        yield from _table(node, definitions)
        yield from _inside(node, definitions, path)


def _inside(node: _Node, definitions: Mapping[str, _Node], path: str) -> Iterator[str]:
    for name, field in node["properties"].items():
        yield from _section(field, definitions, f"{path}.{name}")


def _is_file(node: _Node) -> bool:
    """Whether it is a path, or a mapping that names a file elsewhere."""
    return str(node.get("then", {}).get("$ref", "")).endswith("/Remote")


def _inner(node: _Node, definitions: Mapping[str, _Node], path: str) -> tuple[_Node, str]:
    """What a reference, a list or a mapping of names holds, and the path to it."""
    if "$ref" in node:
        return _inner(definitions[node["$ref"].rpartition("/")[2]], definitions, path)
    if len(node.get("allOf", ())) == 1 and "$ref" in node["allOf"][0]:
        return _inner(node["allOf"][0], definitions, path)
    if isinstance(node.get("items"), dict):
        return _inner(node["items"], definitions, f"{path}[]")
    for named in (*node.get("patternProperties", {}).values(), node.get("additionalProperties")):
        if isinstance(named, dict):
            return _inner(named, definitions, f"{path}.<name>")
    return node, path


def _choices(node: _Node) -> list[_Node]:
    """The branches of a union that is told by a tag."""
    return [
        branch
        for branch in node.get("allOf", ())
        if "$ref" in branch.get("then", {}) and any("const" in p for p in branch["if"].get("properties", {}).values())
    ]


def _table(node: _Node, definitions: Mapping[str, _Node]) -> Iterator[str]:
    yield from ("| key | value | default | |", "|---|---|---|---|")
    required = node.get("required", ())
    for name, field in node["properties"].items():
        shown = f"**`{name}`**" if name in required else f"`{name}`"
        default = f"`{_inline(field['default'])}`" if "default" in field else ""
        example = next(iter(field.get("examples", ())), None)
        more = "" if example is None or example == field.get("default") else f" Example: `{_inline(example)}`."
        text = _cell(_sentence(field.get("description", "")) + more)
        yield f"| {shown} | {_cell(_kind(field, definitions))} | {_cell(default)} | {text} |"


def _kind(field: _Node, definitions: Mapping[str, _Node]) -> str:
    """The values of a key in a few words."""
    if "enum" in field or "const" in field:
        return ", ".join(f"`{_inline(value)}`" for value in field.get("enum", [field.get("const")]))
    if "$ref" in field or len(field.get("allOf", ())) == 1:
        reference = field.get("$ref") or field["allOf"][0].get("$ref")
        return _kind(definitions[reference.rpartition("/")[2]], definitions) if reference else "mapping"
    kinds = field.get("type", "object" if "properties" in field or "patternProperties" in field else "any value")
    names = {"object": "mapping", "array": "list"}
    found = " or ".join(names.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))
    low, high = field.get("minimum", field.get("exclusiveMinimum")), field.get("maximum", field.get("exclusiveMaximum"))
    if low is not None or high is not None:
        found += f", {'' if low is None else f'from {low:g} '}{'' if high is None else f'to {high:g}'}".rstrip()
    return found


def _inline(value: Any) -> str:
    """A value as it is written in YAML, on one line."""
    if isinstance(value, str):
        return value if value and value.isprintable() and not value.isspace() else json.dumps(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_inline(item)}' for name, item in value.items())}}}"
    return json.dumps(value)


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    if text.partition(" ")[0].isalpha():
        text = text[:1].upper() + text[1:]
    return text if not text or text.endswith(".") else f"{text}."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def errors() -> str:
    """Every code with its exit status and its page."""
    lines = [
        "# Errors",
        "",
        f"{WRITTEN} `modelspec explain MS203` prints the page of one, with an example that fails and the same one fixed.",
        "",
        "| code | exit status | |",
        "|---|---|---|",
    ]
    lines += [
        f"| [{code}](../templates/errors/{code}.md) | {int(status)} | {title} |"
        for code, (status, title) in CODES.items()
    ]
    return "\n".join(lines) + "\n"


def commands() -> str:
    """Every command with its arguments and options."""
    group = Commands()
    # As the command line has it; click keeps the first help option that a command was asked for.
    top = click.Context(group, info_name="modelspec", help_option_names=["-h", "--help"])
    lines = ["# Commands", "", WRITTEN]
    for name in group.list_commands(top):
        command = group.get_command(top, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=top)
        lines += ["", f"## {name}", "", "```text", *_help(command, context), "```"]
    return "\n".join(lines) + "\n"


def _help(command: click.Command, context: click.Context) -> Iterator[str]:
    formatter = click.HelpFormatter(width=120)
    command.format_help(context, formatter)
    yield from (line.rstrip() for line in formatter.getvalue().rstrip().splitlines())


PAGES = {"keys.md": keys, "errors.md": errors, "commands.md": commands}


if __name__ == "__main__":
    for name, make in PAGES.items():
        (DOCS / name).write_text(make())
