"""Turns a published folder with deferred targets into one without: builds their engines, and swaps the whole folder."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from modelspec import digest, gates
from modelspec.checks.finish import Finish
from modelspec.errors import fail
from modelspec.execute.alone import Workers, workers
from modelspec.publication import BUILD, CARD, CHECKSUMS, METRICS
from modelspec.publish import replacing
from modelspec.store.files import copy_file, os_errors_explained
from modelspec.verify.record import read_target
from modelspec.verify.verify import Asked, verify


@dataclass(frozen=True)
class Finished:
    """What became of a folder."""

    folder: Path
    targets: tuple[str, ...]
    """Those that were deferred, and are no more."""


def finish(folder: Path, timeout_s: float, on_step: Callable[[str], None]) -> Finished:
    """Build what is deferred. Raises ModelspecError; then the folder is as it was."""
    on_step("verifying what is there")
    found = verify(Asked(folder, None, timeout_s), lambda _: None)
    if found.error:
        raise found.error
    assert found.build is not None
    labels = found.build.deferred
    if not labels:
        return Finished(folder, ())
    for label in labels:
        if lacks := read_target(folder, label).lacking():
            raise fail("MS420", f"{label} cannot be compiled here: there is not {lacks}", help="run it where it is")
    with os_errors_explained("finishing"), replacing(folder) as draft:
        shutil.copytree(folder, draft, dirs_exist_ok=True)
        with (
            TemporaryDirectory(prefix="modelspec-finish-") as temporary,
            workers(Path(temporary) / "w", timeout_s) as running,
        ):
            for label in labels:
                on_step(f"building {label}")
                _finish_target(draft, label, running)
        _seal(draft)
        on_step("verifying what was built")
        if error := verify(Asked(draft, None, timeout_s), lambda _: None).error:
            raise error
    return Finished(folder, tuple(labels))


def _finish_target(draft: Path, label: str, running: Workers) -> None:
    place, target = draft / label, read_target(draft, label)
    if "package" in json.loads((place / "runtime.json").read_bytes()):
        raise fail("MS582", f"{label} is compressed, and cannot be finished", help="build it without package")
    build = json.loads((draft / BUILD).read_bytes())
    action = next(a for a in build["actions"] if a["stage"] == "compile" and label in a["targets"])
    old = [
        output["path"].removeprefix("artifact/")
        for output in action["outputs"]
        if output["path"].startswith("artifact/")
    ]
    inputs = {"artifact": {name: place / name for name in old}}
    outputs = running.outputs(Finish(), f"finish of {label}", {"target": target}, inputs, target.imports)
    made = outputs / "artifact"
    for name in old:
        (place / name).unlink()
    files = digest.files_under(made)
    for name in files:
        copy_file(made / name, place / name)
    copy_file(outputs / "report" / "report.json", place / "runtime.json")
    size = sum((place / name).stat().st_size for name in files)
    _record(build, action, label, place, files, size)
    (draft / BUILD).write_bytes(_json(build))


def _record(
    build: dict[str, Any], action: dict[str, Any], label: str, place: Path, files: list[str], size: int
) -> None:
    """Say in build.json, in metrics.json and in the card what was built."""
    paths = [*((f"artifact/{name}", place / name) for name in files), ("runtime/runtime.json", place / "runtime.json")]
    action |= {
        "state": "finished",
        "determinism": "recorded",
        "outputs": [
            {"path": name, "sha256": digest.of_file(file), "size": file.stat().st_size} for name, file in paths
        ],
    }
    needs = json.loads((place / "runtime.json").read_bytes())["requires"]
    build["tools"] |= needs
    build["deferred"] = [other for other in build["deferred"] if other != label]
    was = build["metrics"][label]["size"]
    build["metrics"][label]["size"] = size
    for gate in build["gates"]:
        if gate["target"] == label and gate["metric"] == "size":
            gate["value"] = size
    metrics = json.loads((place / METRICS).read_bytes())
    metrics["metrics"]["size"] = metrics["stages"]["compile"]["metrics"]["size"] = size
    (place / METRICS).write_bytes(_json(metrics))
    card = place.parent / CARD
    head, mark, rest = card.read_text(encoding="utf-8").partition(f"\n## {label}\n")
    rest = rest.replace(f"| size | {gates.quantity(was, 'size')} |", f"| size | {gates.quantity(size, 'size')} |", 1)
    card.write_text(head + mark + rest, encoding="utf-8")


def _seal(draft: Path) -> None:
    """Write checksums.txt anew, and its digest into build.json."""
    files = [path for path in digest.files_under(draft) if path not in {BUILD, CHECKSUMS}]
    sums = digest.sums([(digest.of_file(draft / path), path) for path in files]).encode()
    (draft / CHECKSUMS).write_bytes(sums)
    build = json.loads((draft / BUILD).read_bytes())
    (draft / BUILD).write_bytes(_json({**build, "checksums": digest.of_bytes(sums)}))
    for path in draft.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
