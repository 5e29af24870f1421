"""Which files each format has, and the template each of them comes from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelspec.errors import fail
from modelspec.manifests.facts import Facts
from modelspec.manifests.options import Format, Manifests
from modelspec.manifests.values import overlay
from modelspec.words import meant

SUFFIXES = (".yaml.j2", ".json.j2", ".conf.j2", ".pbtxt.j2")


@dataclass(frozen=True)
class Piece:
    """One file: its template, its path below manifests/, and values of its own."""

    template: str
    output: str
    values: Mapping[str, Any] = field(default_factory=dict)


def _of(folder: str, *names: str) -> list[Piece]:
    return [Piece(f"{folder}/{name}.j2", f"{folder}/{name}") for name in names]


def pieces(block: Manifests, facts: Facts, own: Path | None) -> list[Piece]:
    """Every file, those of the user's own templates among them, in the order in which they are written."""
    found = [piece for format_ in block.formats for piece in _FORMATS[format_](block, facts)]
    known = {piece.template for piece in found}
    if own is not None:
        found += [Piece(name, name.removesuffix(".j2")) for name in _own(own, block) if name not in known]
    objects = sorted(p.output.removeprefix("kubernetes/") for p in found if p.output.startswith("kubernetes/"))
    if "kubernetes" in block.formats:
        found.append(Piece("kubernetes/kustomization.yaml.j2", "kubernetes/kustomization.yaml", {"files": objects}))
    return found


def _own(folder: Path, block: Manifests) -> Iterator[str]:
    """The user's templates. Raises MS574 for one that would have no effect."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        format_ = name.partition("/")[0]
        if format_ not in block.formats and format_ != "overlays":
            raise fail(
                "MS574",
                f"{name} belongs to no format that is asked for",
                help=meant(format_, block.formats),
                path=("templates",),
            )
        if not name.endswith(SUFFIXES):
            fix = f"call it {format_}/<name>{SUFFIXES[0]}"
            raise fail("MS574", f"{name} is not called as templates are", help=fix, path=("templates",))
        yield name  # fmt: skip


def _kubernetes(block: Manifests, _: Facts) -> Iterator[Piece]:
    names = ["deployment", "networkpolicy", "poddisruptionbudget", "service", "serviceaccount"]
    names += ["horizontalpodautoscaler"] if block.autoscale else []
    names += ["httproute"] if block.ingress else []
    names += ["gateway"] if block.ingress and block.ingress.gateway is None else []
    yield from _of("kubernetes", *(f"{name}.yaml" for name in sorted(names)))
    for name, environment in sorted(block.environments.items()):
        folder, patches = f"overlays/{name}", []
        for kind, changes in overlay(environment, block):
            patches.append({"file": f"{kind.lower()}.yaml", "kind": kind})
            yield Piece("overlays/patch.yaml.j2", f"{folder}/{kind.lower()}.yaml", {"changes": changes})
        values = {"environment": {"namespace": environment.namespace, "patches": patches}}
        yield Piece("overlays/kustomization.yaml.j2", f"{folder}/kustomization.yaml", values)


_FORMATS: Mapping[Format, Any] = {
    "kubernetes": _kubernetes,
}
