"""Puts a finished build under its final name in one step; an interrupted or failed one changes nothing there."""

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelspec import digest, toolchain
from modelspec.errors import fail
from modelspec.gates import Figures, GateResult, quantity
from modelspec.plan import Plan
from modelspec.resolve import Resolved
from modelspec.spec.model import ModelSpec
from modelspec.store.files import os_errors_explained, sync_folder
from modelspec.store.locks import held
from modelspec.store.record import Record
from modelspec.store.stat_cache import StatCache
from modelspec.store.store import Store

FORMAT = 1
CHECKSUMS = "checksums.txt"
BUILD = "build.json"
_LOCK_DEADLINE_S = 600.0


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


def folder_of(spec: ModelSpec, output: Path) -> Path:
    """Where a spec is published."""
    return output / spec.name / spec.version


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


def is_current(folder: Path, expected: str, stats: StatCache) -> bool:
    """Whether `folder` holds this very publication, every file of it untouched and nothing beside them."""
    try:
        build = json.loads((folder / BUILD).read_bytes())
        sums = (folder / CHECKSUMS).read_text().splitlines()
        if build["publication"] != expected:
            return False
        listed = {path: sha256 for sha256, path in (line.split("  ", 1) for line in sums)}
        if set(digest.files_under(folder)) != {*listed, BUILD, CHECKSUMS}:
            return False
        if build["checksums"] != stats.of_file(folder / CHECKSUMS)[0]:
            return False
        return all(stats.of_file(folder / path)[0] == sha256 for path, sha256 in listed.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def publish(publication: Publication, output: Path, store: Store) -> tuple[Path, bool]:
    """Write dist/<name>/<version>/; returns it, and whether it took the place of other content."""
    folder = folder_of(publication.resolved.loaded.spec, output)
    with os_errors_explained("publishing"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise fail("MS402", f"{folder} is not a folder", help="move it away, or choose another --output")
        lock = store.root / "locks" / f"publish-{digest.of_bytes(os.fsencode(folder.absolute()))[:32]}"
        with held(lock, _LOCK_DEADLINE_S, str(folder)):
            for leftover in folder.parent.glob(f".{folder.name}.*.draft"):
                _recover(leftover, folder)
            draft = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.draft"
            draft.mkdir()
            try:
                _fill(draft, publication, store)
                replaced = folder.exists() and _checksums(folder) != _checksums(draft)
                _swap(draft, folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    return folder, replaced


def _recover(leftover: Path, folder: Path) -> None:
    """A build that died between moving the old folder aside and the new one in left the old one here: put it back."""
    if not folder.exists() and (leftover / BUILD).is_file():
        leftover.rename(folder)
    else:
        shutil.rmtree(leftover, ignore_errors=True)


def _checksums(folder: Path) -> bytes:
    try:
        return (folder / CHECKSUMS).read_bytes()
    except OSError:
        return b""


def _swap(draft: Path, folder: Path) -> None:
    """Exchange the two names in one step; where the file system cannot, move the old one aside first."""
    from modelspec.platform_linux import exchange

    sync_folder(draft)
    if not folder.exists():
        draft.rename(folder)
    elif not exchange(draft, folder):
        aside = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.draft"
        folder.rename(aside)
        draft.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
    sync_folder(folder.parent)


def _fill(draft: Path, publication: Publication, store: Store) -> None:
    listed: list[tuple[str, str]] = []
    plan, records = publication.plan, publication.records
    for label, target in plan.targets.items():
        for made, below in target.published:
            for name, sha256 in records[made.action].slot(made.slot).items():
                path = "/".join(filter(None, (label, below, name)))
                if not store.take(sha256, draft / path):
                    raise fail(
                        "MS602",
                        f"the cached {path} does not match its digest; it was dropped",
                        help="build again: it will be made anew",
                    )
                (draft / path).chmod(0o644)
                listed.append((sha256, path))
        listed.append(_write(draft, f"{label}/metrics.json", _json(_metrics(publication.figures[label]))))
    listed.append(_write(draft, "MODEL_CARD.md", _card(publication)))
    sums = digest.sums(listed).encode()
    _write(draft, CHECKSUMS, sums)
    _write(draft, BUILD, _json(_build_record(publication, digest.of_bytes(sums))))
    for written in (draft, *sorted(draft.rglob("*"))):
        if written.is_dir():
            written.chmod(0o755)
        else:
            with written.open("rb") as file:
                os.fsync(file.fileno())


def _write(folder: Path, path: str, data: bytes) -> tuple[str, str]:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    target.chmod(0o644)
    return digest.of_bytes(data), path


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _metrics(figures: Figures) -> dict[str, Any]:
    values = {name: value for name, value in figures.metrics.items() if not _is_measured(name, figures)}
    return {"formatVersion": FORMAT, "metrics": values, "source": figures.source, "stages": figures.details}


def _is_measured(name: str, figures: Figures) -> bool:
    return any(name in value.get("metrics", {}) for value in figures.measured.values())


def _card(publication: Publication) -> bytes:
    from modelspec.render import render

    spec = publication.resolved.loaded.spec
    targets = [
        {"label": label, "target": next(t for t in spec.targets if t.label == label), **_metrics(figures)}
        for label, figures in publication.figures.items()
    ]
    reproducible = [
        gate for gate in publication.gates if not _is_measured(gate.metric, publication.figures[gate.target])
    ]
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


def _build_record(publication: Publication, checksums: str) -> dict[str, Any]:
    """build.json: everything about this build, times included."""
    resolved, plan = publication.resolved, publication.plan
    packages = {n: v for action in plan.actions.values() for n, v in action.packages.items()}
    return {
        "formatVersion": FORMAT,
        "publication": identity(resolved, plan, publication.records),
        "checksums": checksums,
        "name": resolved.loaded.spec.name,
        "version": resolved.loaded.spec.version,
        "spec": digest.of_json(resolved.loaded.spec.model_dump(mode="json")),
        "tools": {"modelspec": toolchain.own_version(), **packages},
        "environment": toolchain.facts(["arch", "isa", "cpu", "cores"]),
        "actions": [_action(publication, id_) for id_ in plan.actions],
        "metrics": {label: figures.metrics for label, figures in publication.figures.items()},
        "measured": {label: figures.measured for label, figures in publication.figures.items()},
        "gates": [asdict(gate) for gate in publication.gates],
    }


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
