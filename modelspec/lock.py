"""model.lock: what a build was made from and what came out, checked in beside model.yaml.

Inputs, tools and options are the same for everyone. What is only the same on one instruction set (`numeric`) is kept
for each by itself, so that machines of different kinds add to the file and never contend for a line of it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from modelspec import digest, toolchain
from modelspec.errors import Diagnostic, ModelspecError, fail
from modelspec.options import Options
from modelspec.plan import Plan
from modelspec.resolve import Resolved, lookups, pins
from modelspec.spec import yaml
from modelspec.spec.positions import Place, Positions
from modelspec.stage import Determinism

_HEADER = "# Written by `modelspec build`; check it in. `modelspec build --locked` fails where anything would differ.\n"

Digests = dict[str, str]


class TargetLock(Options):
    """What one target was made by, and its published files."""

    recipe: str = Field(description="Digest of the stages and their options.")
    exact: Digests = Field(default_factory=dict, description="Files that are the same on any machine.")
    numeric: dict[str, Digests] = Field(default_factory=dict, description="Files by instruction set.")
    recorded: Digests = Field(default_factory=dict, description="Files that cannot be made again as they are.")


class Lock(Options):
    """The whole file."""

    formatVersion: Literal[1] = Field(description="Version of this file's shape.")  # noqa: N815 - the spelling of the file
    inputs: Digests = Field(default_factory=dict, description="Weights, data and code, by path or address.")
    tools: Digests = Field(default_factory=dict, description="Versions that can change a result.")
    found: dict[str, Digests] = Field(
        default_factory=dict, description="What was looked up, and what was pinned of figures, by what it is."
    )
    targets: dict[str, TargetLock] = Field(default_factory=dict, description="Each target by its name.")


@dataclass(frozen=True)
class Published:
    """A file of a target, below the target's folder, with the stages whose results are in it."""

    path: str
    sha256: str
    determinism: Determinism
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Locked:
    """A model.lock as it was read."""

    lock: Lock
    file: Path
    positions: Positions

    def problem(self, code: str, message: str, place: Place, help: str) -> Diagnostic:
        """A diagnostic at a place of the file."""
        return Diagnostic(code, message, help=help, file=str(self.file), span=self.positions.value(place), path=place)


def path_of(spec: Path) -> Path:
    """The lock of a spec: model.lock for model.yaml."""
    return spec.with_suffix(".lock")


def read(spec: Path) -> Locked | None:
    """The lock beside a spec; None when there is none. Raises MS630 for one that cannot be understood."""
    file = path_of(spec)
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise fail("MS402", f"{str(file)!r} cannot be read: {error.strerror}", help="check its permissions") from error
    document = yaml.parse(raw)
    problem = next(iter(document.problems), None)
    if problem is None:
        try:
            return Locked(Lock.model_validate(document.data), file, document.positions)
        except ValidationError as error:
            first = error.errors()[0]
            place = tuple(first["loc"])
            problem = Diagnostic("MS630", first["msg"], span=document.positions.value(place), path=place)
    message = f"{file.name} cannot be understood: {problem.message}"
    fix = "restore it, or let modelspec build --update write it anew"
    raise ModelspecError((Diagnostic("MS630", message, help=fix, file=str(file), span=problem.span),))


def now(resolved: Resolved, plan: Plan) -> Lock:
    """What the file would say of inputs, tools and options, before anything is built."""
    root = resolved.loaded.root
    files = [*(file for files in resolved.files.values() for file in files), *resolved.code]
    tools = {name: version for action in plan.actions.values() for name, version in action.packages.items()}
    here = {file.origin.relative_to(root).as_posix(): _written(file.sha256) for file in files}
    elsewhere = {remote.uri: _written(remote.sha256) for remote in resolved.remote.values()}
    return Lock(
        formatVersion=1,
        inputs={**here, **elsewhere},
        tools={"modelspec": toolchain.own_version(), **tools},
        found={name: dict(found) for name, found in resolved.found.items()},
        targets={label: TargetLock(recipe=_recipe(plan, label)) for label in plan.targets},
    )


def _recipe(plan: Plan, label: str) -> str:
    """Everything in the keys of a target's actions that is written by people: not the inputs, nor the machine."""
    names = ("stage", "revision", "options", "parts")
    actions = [a for a in plan.only([label]).actions.values() if a.determinism is not Determinism.MEASURED]
    preimages = [action.preimage({}) for action in actions]
    return _written(digest.of_json([{name: preimage[name] for name in names} for preimage in preimages]))


def _written(sha256: str) -> str:
    return f"sha256:{sha256}"


def instruction_set() -> str:
    """The machine as far as `numeric` results depend on it."""
    facts = toolchain.facts(["arch", "isa"])
    return f"{facts['arch']} {facts['isa']}"


def require_unmoved(resolved: Resolved, plan: Plan) -> None:
    """Raise MS631 for each input, tool and option that is not what the lock says, MS633 where there is no lock."""
    locked = require(resolved.loaded.file)
    if changed := moved(locked, resolved, now(resolved, plan)):
        raise ModelspecError(tuple(changed))


def require(spec: Path) -> Locked:
    """The lock beside a spec. Raises MS633 where there is none, and what `read` raises."""
    locked = read(spec)
    if locked is None:
        message = f"there is no {path_of(spec).name} beside {spec.name}"
        problem = Diagnostic("MS633", message, help="modelspec build writes it; check it in", file=str(spec))
        raise ModelspecError((problem,))
    return locked


def moved(locked: Locked, resolved: Resolved, current: Lock) -> list[Diagnostic]:
    """How questions to the world, inputs, tools and options differ from what the lock says: MS631 each."""
    return [*_changed_questions(locked, resolved), *changed_inputs(locked, current)]


def _changed_questions(locked: Locked, resolved: Resolved) -> Iterator[Diagnostic]:
    """MS631 for what would have to be looked up, and for answers that nobody asks for."""
    asked = lookups(resolved.loaded)
    if any(lookup.impossible for lookup in asked.values()):
        return  # a tool is not installed: that is said elsewhere
    found, known = locked.lock.found.keys(), {*asked, *pins(resolved.loaded)}
    for name in sorted((asked.keys() - found) | (found - known)):
        gone = name not in known
        text, place = ("is no longer used", ("found", name)) if gone else ("is not in it", ("found",))
        yield _moved(locked, f"{name!r} {text}", place)


def changed_inputs(locked: Locked, current: Lock) -> list[Diagnostic]:
    """How inputs, tools and options differ from what the lock says: MS631 each.

    A tool that is not installed is no difference: a hook plans without any, and a build asks for them by itself.
    """
    found: list[Diagnostic] = []
    for block, old, new in (
        ("inputs", locked.lock.inputs, current.inputs),
        ("tools", locked.lock.tools, current.tools),
    ):
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name) and new.get(name) != toolchain.ABSENT:
                text = _change(block, name, old.get(name), new.get(name))
                found.append(_moved(locked, text, (block, name)))
    for label, target in current.targets.items():
        pinned = locked.lock.targets.get(label)
        if pinned is None:
            found.append(_moved(locked, f"the target {label!r} is not in it", ("targets",)))
        elif pinned.recipe != target.recipe:
            place: Place = ("targets", label, "recipe")
            found.append(_moved(locked, f"the options of the target {label!r} are others", place))
    gone = [label for label in locked.lock.targets if label not in current.targets]
    return found + [_moved(locked, f"the spec has no target {label!r}", ("targets", label)) for label in gone]


def _change(block: str, name: str, old: str | None, new: str | None) -> str:
    if block == "tools" and old and new:
        return f"{name} {new} is installed, and it says {old}"
    if old is None:
        return f"{name!r} is not in it"
    return f"{name!r} is no longer used" if new is None else f"{name!r} has changed"


def _moved(locked: Locked, text: str, place: Place) -> Diagnostic:
    fix = "modelspec build, without --locked, brings it up to date; or restore what it names"
    return locked.problem("MS631", f"{locked.file.name} is out of date: {text}", place, fix)


def is_settled(locked: Locked, current: Lock, label: str) -> bool:
    """Whether a target is made from what the lock says, so that its files have to be those that it pins."""
    old, pinned = locked.lock, locked.lock.targets.get(label)
    same = (old.inputs, old.tools) == (current.inputs, current.tools)
    return same and pinned is not None and pinned.recipe == current.targets[label].recipe


def changed_outputs(
    locked: Locked, outputs: Mapping[str, Iterable[Published]], free: Collection[str] = ()
) -> list[Diagnostic]:
    """Files that are not those the lock pins for this machine: MS632 each. What stages in `free` made may differ."""
    found: list[Diagnostic] = []
    for label, files in outputs.items():
        for file in files:
            place, pinned = _pin(locked.lock, label, file)
            if pinned is None or pinned == _written(file.sha256) or set(file.stages) & set(free):
                continue
            stage = file.stages[-1]
            message = f"{label}/{file.path} is not the one that {locked.file.name} pins"
            fix = f"find what makes {stage} differ from run to run; or accept it: modelspec build --update {stage}"
            found.append(
                locked.problem("MS632", message, place, fix).at(why="nothing that it is made from has changed")
            )
    return found


def _pin(lock: Lock, label: str, file: Published) -> tuple[Place, str | None]:
    target = lock.targets.get(label)
    place: Place = ("targets", label, file.determinism.value)
    if target is None:
        return place, None
    block: Digests = getattr(target, file.determinism.value)
    if file.determinism is Determinism.NUMERIC:
        place, block = (*place, instruction_set()), target.numeric.get(instruction_set(), {})
    return (*place, file.path), block.get(file.path)


def updated(old: Lock | None, current: Lock, outputs: Mapping[str, Iterable[Published]]) -> Lock:
    """The lock after a build of the targets in `outputs`; others of the spec stay as they are pinned.

    What other instruction sets gave stays while inputs, tools and options are the same; else it is out of date.
    """
    unmoved = old is not None and (old.inputs, old.tools) == (current.inputs, current.tools)
    targets: dict[str, TargetLock] = {}
    for label, target in current.targets.items():
        pinned = old.targets.get(label) if old else None
        if label not in outputs:
            if pinned is not None and unmoved:
                targets[label] = pinned
            continue
        same = unmoved and pinned is not None and pinned.recipe == target.recipe
        others = {**pinned.numeric} if pinned is not None and same else {}
        targets[label] = _target(target.recipe, others, outputs[label])
    return current.model_copy(update={"targets": targets})


def _target(recipe: str, others: dict[str, Digests], files: Iterable[Published]) -> TargetLock:
    by_kind: dict[Determinism, Digests] = {kind: {} for kind in Determinism}
    for file in files:
        by_kind[file.determinism][file.path] = _written(file.sha256)
    mine = by_kind[Determinism.NUMERIC]
    numeric = {**others, instruction_set(): mine} if mine else others
    return TargetLock(
        recipe=recipe, exact=by_kind[Determinism.EXACT], numeric=numeric, recorded=by_kind[Determinism.RECORDED]
    )


def as_text(lock: Lock) -> str:
    """The file: one value a line, every text in quotes, names in order."""
    value = lock.model_dump(mode="json")
    version = value.pop("formatVersion")
    return _HEADER + f"formatVersion: {version}\n" + "".join(_lines(value, ""))


_FIELDS = (*Lock.model_fields, *TargetLock.model_fields)


def _lines(value: Mapping[str, object], indent: str) -> Iterator[str]:
    is_model = set(value) <= set(_FIELDS)
    for key, item in value.items() if is_model else sorted(value.items()):
        name = key if is_model else digest.canonical_json(key).decode()
        if isinstance(item, dict):
            if item:
                yield f"{indent}{name}:\n"
                yield from _lines(item, indent + "  ")
        else:
            yield f"{indent}{name}: {digest.canonical_json(item).decode()}\n"
