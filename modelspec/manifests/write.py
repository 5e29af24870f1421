"""Templates -> checked files. Nothing is written unless all of it passes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelspec import resources
from modelspec.errors import Diagnostic, ModelspecError
from modelspec.manifests import policy, schemas
from modelspec.manifests.documents import Document, Origin, as_json, as_yaml, read
from modelspec.manifests.facts import Facts
from modelspec.manifests.layout import Piece, pieces
from modelspec.manifests.options import Manifests
from modelspec.manifests.values import KEYS, require_fitting, values
from modelspec.render import TemplateError, render_traced


@dataclass(frozen=True)
class File:
    """A finished file, and the object in it where it is one."""

    path: str
    text: str
    document: Document | None


def write(block: Manifests, facts: Facts, target: Path, own: Path | None = None) -> None:
    """Write all files of the formats asked for below `target`. Raises ModelspecError with everything that is wrong."""
    files = render(block, facts, own)
    for file in files:
        path = target / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text, encoding="utf-8")


def render(block: Manifests, facts: Facts, own: Path | None = None) -> list[File]:
    """All files. Raises ModelspecError with everything that is wrong."""
    require_fitting(block, facts.server)
    folders = [*([own] if own else []), resources.folder("templates")]
    names = values(block, facts)
    files: list[File] = []
    problems: list[Diagnostic] = []
    for piece in pieces(block, facts, own):
        file, found = _file(piece, folders, names)
        problems += found or (_problems(file, block) if file else ())
        files += [file] if file else []
        if piece.derive and file and file.document:
            names |= piece.derive(file.document.value, block)
    problems += _twice(files)
    if problems:
        raise ModelspecError(tuple(problems))
    return files


def _file(piece: Piece, folders: list[Path], names: dict[str, Any]) -> tuple[File | None, list[Diagnostic]]:
    source = next(folder / piece.template for folder in folders if (folder / piece.template).is_file())
    if not piece.template.endswith(".j2"):
        return File(piece.output, source.read_text(encoding="utf-8"), None), []
    asked_by = ("formats",) if source.is_relative_to(folders[-1]) else ("templates",)
    origin = Origin(piece.template, tuple(source.read_text(encoding="utf-8").splitlines()), KEYS, asked_by)
    try:
        rendered = render_traced(piece.template, folders, {**names, **piece.values})
    except TemplateError as error:
        return None, [
            origin.problem(
                "MS570", str(error), error.line, "see the names that templates may use: modelspec explain MS570"
            )
        ]
    if not piece.output.endswith((".yaml", ".json")):
        return File(piece.output, rendered.text, None), []
    document, problems = read(rendered, origin)
    if problems:
        return None, problems
    text = as_json(document.value) if piece.output.endswith(".json") else as_yaml(document.value)
    return File(piece.output, text, document), []  # fmt: skip


def _problems(file: File, block: Manifests) -> Iterator[Diagnostic]:
    """What is wrong with a file as an object of Kubernetes."""
    document = file.document
    if document is None:
        return
    if file.path.startswith("compose/"):
        yield from policy.compose(document)
    if not _is_object(file):
        return
    found = list(schemas.check(document, block.kubernetes))
    yield from found or policy.check(document)


def _is_object(file: File) -> bool:
    """Whether a cluster is to take it; files of Kustomize and Helm are for those."""
    folder = file.path.partition("/")[0]
    if file.document is None or folder in {"helm", "overlays", "compose"} or file.path.endswith("kustomization.yaml"):
        return False
    value = file.document.value
    return folder in {"kubernetes", "kserve"} or (isinstance(value, dict) and "apiVersion" in value)


def _twice(files: list[File]) -> Iterator[Diagnostic]:
    """MS574 for an object that two files hold."""
    first: dict[tuple[Any, ...], str] = {}
    for file in files:
        if file.document is None or not _is_object(file):
            continue
        value = file.document.value
        meta = value.get("metadata", {})
        identity = (file.path.partition("/")[0], value.get("kind"), meta.get("namespace"), meta.get("name"))
        if identity in first:
            message = f"{first[identity]} holds the same object"
            yield file.document.problem("MS574", message, (), "give it another name")
        first.setdefault(identity, file.path)
