"""What the parent tells a worker, and what it hears back: two small JSON files in the scratch folder."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelspec import registry
from modelspec.errors import Diagnostic
from modelspec.options import Options
from modelspec.plan import Action
from modelspec.signature import Signature
from modelspec.stage import OPTIONAL_PARTS, Job, Stage


def write_job(root: Path, action: Action, resume: Path | None = None) -> None:
    """Write job.json. `resume`: the file that outlives the run, for a stage that asks for one."""
    value = {
        "stage": action.stage.name,
        "options": action.stage.model_dump(mode="json"),
        "parts": {kind: _part_to_json(part) for kind, part in action.parts.items()},
        "distributions": sorted(action.packages),
        "resume": str(resume) if resume else None,
    }
    (root / "job.json").write_text(json.dumps(value))


def _part_to_json(part: Options) -> dict[str, Any]:
    if isinstance(part, Signature):
        return {"signature": part.as_lists()}
    name = getattr(part, "device_name", None) or getattr(part, "name", None)
    return {"name": name, "options": part.model_dump(mode="json")}


def read_job(root: Path) -> tuple[Stage, Job, frozenset[str]]:
    """The stage, its job, and the distributions that user code may import."""
    value = json.loads((root / "job.json").read_text())
    kinds = {**registry.stages(), **registry.checks()}
    stage = _revive(kinds[value["stage"]], value["options"])
    parts: dict[str, Any] = {}
    folders: Mapping[str, Mapping[str, type[Options]]] = {
        "framework": registry.frameworks(),
        "loader": registry.loaders(),
        "target": registry.targets(),
    }
    for kind, part in value["parts"].items():
        if kind == "signature":
            parts[kind] = Signature.from_lists(part["signature"])
        elif kind in OPTIONAL_PARTS:
            parts[kind] = _revive(OPTIONAL_PARTS[kind], part["options"])
        else:
            parts[kind] = _revive(folders[kind][part["name"]], part["options"])
    resume = Path(value["resume"]) if value["resume"] else None
    return stage, Job(root=root, resume=resume, **parts), frozenset(value["distributions"])


def _revive(kind: type[Any], options: dict[str, Any]) -> Any:
    return kind.model_validate_json(json.dumps(options))


@dataclass(frozen=True)
class Result:
    """What a worker said: the problems of a failed action, or the warnings of one that succeeded."""

    diagnostics: tuple[Diagnostic, ...]
    seconds: float
    networked: str
    """Why the worker could not be cut off from the network; "" where it was, or was not to be."""


def write_result(root: Path, diagnostics: Iterable[Diagnostic], seconds: float, networked: str) -> None:
    """Write result.json."""
    said = [asdict(diagnostic) for diagnostic in diagnostics]
    value = {"diagnostics": said, "seconds": round(seconds, 3), "networked": networked}
    (root / "result.json").write_text(json.dumps(value))


def read_result(root: Path) -> Result | None:
    """What the worker said; None when it died before it could."""
    try:
        value = json.loads((root / "result.json").read_text())
    except (OSError, ValueError):
        return None
    said = tuple(Diagnostic(**{**d, "path": tuple(d["path"]), "also": (), "span": None}) for d in value["diagnostics"])
    return Result(said, value["seconds"], value["networked"])
