"""Which files each format has, and the template each of them comes from."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelspec import resources
from modelspec.errors import fail
from modelspec.manifests import formats, monitoring
from modelspec.manifests.facts import Facts
from modelspec.manifests.options import Format, Manifests
from modelspec.manifests.values import overlay
from modelspec.words import meant

SUFFIXES = (".yaml.j2", ".json.j2", ".conf.j2", ".pbtxt.j2")


_FIXED = {"kubernetes/kustomization.yaml.j2"}
"""Could bring in what nothing here has looked at."""


@dataclass(frozen=True)
class Piece:
    """One file: its template, its path below manifests/, and values of its own."""

    template: str
    output: str
    values: Mapping[str, Any] = field(default_factory=dict)
    derive: Callable[[Any, Manifests], dict[str, Any]] | None = None
    """Values that later templates see, out of the object of this file."""


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
        if name in _FIXED:
            raise fail(
                "MS574",
                f"{name} is made of the other files, and cannot be replaced",
                help="remove it",
                path=("templates",),
            )
        if format_ not in block.formats:
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


def _monitoring(block: Manifests, facts: Facts) -> Iterator[Piece]:
    yield Piece("monitoring/rules.yaml.j2", "monitoring/rules.yaml", derive=monitoring.from_rules)
    names = ("dashboard.json", "prometheusrule.yaml", "rules.test.yaml", "scrape.yaml", "servicemonitor.yaml")
    for piece in _of("monitoring", *names):
        yield replace(piece, values=monitoring.values(block, facts))


def _nginx(block: Manifests, facts: Facts) -> Iterator[Piece]:
    yield Piece("nginx/nginx.conf.j2", "nginx/nginx.conf", formats.nginx(block, facts))


def _compose(block: Manifests, facts: Facts) -> Iterator[Piece]:
    yield Piece("compose/compose.yaml.j2", "compose/compose.yaml", formats.compose(block, facts))


def _kserve(block: Manifests, facts: Facts) -> Iterator[Piece]:
    for piece in _of("kserve", "inferenceservice.yaml", "serviceaccount.yaml", "servingruntime.yaml"):
        yield replace(piece, values=formats.kserve(block, facts))


def _triton(block: Manifests, facts: Facts) -> Iterator[Piece]:
    yield Piece("triton/config.pbtxt.j2", f"triton/{facts.name}/config.pbtxt", formats.triton(block, facts))


def _helm(block: Manifests, facts: Facts) -> Iterator[Piece]:
    for name in ("Chart.yaml", "values.yaml"):
        yield Piece(f"helm/{name}.j2", f"helm/{facts.name}/{name}", formats.helm(block, facts))
    # The chart's own templates are those of Helm: they are copied as they are.
    chart = resources.folder("templates") / "helm"
    for path in sorted((*chart.glob("templates/*"), chart / "values.schema.json")):
        name = path.relative_to(chart).as_posix()
        yield Piece(f"helm/{name}", f"helm/{facts.name}/{name}")


_FORMATS: Mapping[Format, Any] = {
    "kubernetes": _kubernetes,
    "monitoring": _monitoring,
    "kserve": _kserve,
    "helm": _helm,
    "triton": _triton,
    "compose": _compose,
    "nginx": _nginx,
}
