"""What a build publishes: the files of each target, and what is written about them."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelspec import digest, toolchain
from modelspec.figures import FORMAT, Figures, as_file
from modelspec.gates import GateResult, quantity
from modelspec.lock import Published
from modelspec.oci.contents import LayoutSaid, describe
from modelspec.oci.layout import Layout
from modelspec.plan import Plan
from modelspec.resolve import Resolved
from modelspec.spec.model import ModelSpec
from modelspec.stage import Determinism
from modelspec.store.files import sync_folder
from modelspec.store.record import Record
from modelspec.store.store import Store

CHECKSUMS = "checksums.txt"
BUILD = "build.json"
METRICS = "metrics.json"
CARD = "MODEL_CARD.md"


@dataclass(frozen=True)
class Publication:
    """A finished build that has passed its gates."""

    resolved: Resolved
    plan: Plan
    records: Mapping[str, Record]
    figures: Mapping[str, Figures]
    gates: tuple[GateResult, ...]
    ran: frozenset[str]
    """Ids of the actions that ran in this build; the others were cached."""


def identity(resolved: Resolved, plan: Plan, records: Mapping[str, Record]) -> str:
    """Changes whenever the published files would: with the results, and with what is only shown (card, gates)."""
    spec = resolved.loaded.spec
    evaluate = spec.blocks.get("evaluate")
    return digest.of_json(
        {
            "format": FORMAT,
            "modelspec": toolchain.own_version(),
            "name": spec.name,
            "version": spec.version,
            "card": spec.card.model_dump(mode="json"),
            "gates": [gate.model_dump(mode="json") for gate in evaluate.all_gates()] if evaluate else [],
            "targets": {label: [records[id_].key for id_ in target.chain] for label, target in plan.targets.items()},
        }
    )


def published(publication: Publication) -> dict[str, tuple[Published, ...]]:
    """The reproducible files of each target, below its folder, with the stages whose results are in them."""
    return {label: tuple(_files(publication, label)) for label in publication.plan.targets}


def _files(publication: Publication, label: str) -> Iterator[Published]:
    target, plan = publication.plan.targets[label], publication.plan
    for made, below in target.published:
        action = plan.actions[made.action]
        for name, sha256 in publication.records[made.action].slot(made.slot).items():
            yield Published("/".join(filter(None, (below, name))), sha256, action.determinism, (action.stage.name,))
    makers = [plan.actions[made.action] for made in target.metrics]
    stages = tuple(action.stage.name for action in makers if action.determinism is not Determinism.MEASURED)
    sha256 = digest.of_bytes(as_file(publication.figures[label].reproducible()))
    yield Published(METRICS, sha256, Determinism.NUMERIC, stages)


def fill(draft: Path, publication: Publication, store: Store) -> None:
    """Write every file of the publication into the empty folder `draft`, and make it durable. Raises BlobLostError."""
    listed: list[tuple[str, str]] = []
    for label, files in published(publication).items():
        for file in files:
            path = draft / label / file.path
            if file.path == METRICS:
                _write(draft, f"{label}/{file.path}", as_file(publication.figures[label].reproducible()))
            else:
                store.take(file.sha256, path)
                path.chmod(0o644)
            listed.append((file.sha256, f"{label}/{file.path}"))
    listed.append(_write(draft, CARD, _card(publication)))
    sums = digest.sums(listed).encode()
    _write(draft, CHECKSUMS, sums)
    _write(draft, BUILD, as_file(_build_record(publication, digest.of_bytes(sums), draft)))
    for written in (draft, *sorted(draft.rglob("*"))):
        if written.is_dir():
            written.chmod(0o755)
            sync_folder(written)
        else:
            with written.open("rb") as opened:
                os.fsync(opened.fileno())


def _write(folder: Path, path: str, data: bytes) -> tuple[str, str]:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    target.chmod(0o644)
    return digest.of_bytes(data), path


def _card(publication: Publication) -> bytes:
    from modelspec.render import render

    spec = publication.resolved.loaded.spec
    targets = [
        {"label": label, "target": next(t for t in spec.targets if t.label == label), **figures.reproducible()}
        for label, figures in publication.figures.items()
    ]
    reproducible = [gate for gate in publication.gates if not publication.figures[gate.target].is_measured(gate.metric)]
    return render(
        "card/MODEL_CARD.md.j2",
        filters={"figure": quantity},
        spec=spec,
        card=_card_rows(spec),
        targets=targets,
        gates=reproducible,
    ).encode()


def _card_rows(spec: ModelSpec) -> list[tuple[str, str]]:
    """What the card block says, as (title, text), in its own order."""
    written = spec.card.model_dump(mode="json", exclude_none=True)
    rows = [(name, ", ".join(value) if isinstance(value, list) else value) for name, value in written.items()]
    return [(name.replace("_", " ").capitalize(), text) for name, text in rows if text]


def images_of(folder: Path, labels: Iterable[str]) -> dict[str, LayoutSaid]:
    """The images of a published folder, by target."""
    layouts = {label: Layout(folder / label / "image") for label in labels}
    return {label: describe(layout) for label, layout in layouts.items() if layout.exists}


def _build_record(publication: Publication, checksums: str, draft: Path) -> dict[str, Any]:
    """build.json: everything about this build, times included."""
    resolved, plan = publication.resolved, publication.plan
    packages = {n: v for action in plan.actions.values() for n, v in action.packages.items()}
    return {
        "formatVersion": FORMAT,
        "publication": identity(resolved, plan, publication.records),
        "checksums": checksums,
        "name": resolved.loaded.spec.name,
        "version": resolved.loaded.spec.version,
        "spec": resolved.loaded.spec.sha256,
        "tools": {"modelspec": toolchain.own_version(), **packages},
        "environment": toolchain.facts(["arch", "isa", "cpu", "cores"]),
        "actions": [_action(publication, id_) for id_ in plan.actions if id_ in publication.records],
        "metrics": {label: figures.metrics for label, figures in publication.figures.items()},
        "measured": {label: figures.measured for label, figures in publication.figures.items()},
        "measuredOn": {
            label: where for label, figures in publication.figures.items() if (where := _measured_on(figures))
        },
        "deferred": deferred(plan),
        "gates": [asdict(gate) for gate in publication.gates],
        "images": {label: said.as_record() for label, said in images_of(draft, publication.plan.targets).items()},
    }


def _measured_on(figures: Figures) -> str:
    """What was measured in place of the device; "" where it was the device itself."""
    return str(figures.details.get("evaluate", {}).get("measured_on", ""))


def deferred(plan: Plan) -> list[str]:
    """The targets that another machine is to finish."""
    left = [action for action in plan.actions.values() if getattr(action.stage, "deferred", False)]
    return [label for label in plan.targets if any(label in action.targets for action in left)]


def _action(publication: Publication, id_: str) -> dict[str, Any]:
    action, record = publication.plan.actions[id_], publication.records[id_]
    return {
        "label": action.label,
        "stage": action.stage.name,
        "targets": list(action.targets),
        "key": record.key,
        "state": "ran" if id_ in publication.ran else "cached",
        "seconds": record.seconds,
        "determinism": record.determinism,
        "outputs": [asdict(output) for output in record.outputs],
    }
