"""Plan + store -> what is cached, what must run, what waits to know; and the reason, from the records' pre-images."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from modelspec import digest
from modelspec.plan import Action, Given, Made, Plan
from modelspec.resolve import Path_, Resolved
from modelspec.store.record import Record
from modelspec.store.store import Store


class State(StrEnum):
    """What is known of an action before it runs."""

    CACHED = "cached"
    RUN = "run"
    WAITS = "waits"


@dataclass(frozen=True)
class Reason:
    """Why an action runs: one sentence, and the option that says so where it is one."""

    text: str
    path: Path_ | None = None


@dataclass(frozen=True)
class Match:
    """An action with its state. The key is known unless it waits."""

    action: Action
    state: State
    key: str = ""
    preimage: Mapping[str, Any] = field(default_factory=dict)
    record: Record | None = None
    reasons: tuple[Reason, ...] = ()


def input_files(action: Action, records: Mapping[str, Record]) -> dict[str, dict[str, str]] | None:
    """Each input's files as relative path -> digest; None while an action it needs has no record."""
    found: dict[str, dict[str, str]] = {}
    for name, value in action.inputs.items():
        if isinstance(value, Given):
            found[name] = {file.name: file.sha256 for file in value.files}
        elif value.action in records:
            found[name] = records[value.action].slot(value.slot)
        else:
            return None
    return found


def match_one(
    action: Action,
    records: Mapping[str, Record],
    resolved: Resolved,
    store: Store,
    fresh: Collection[str] = (),
) -> Match:
    """Look one action up. `fresh` names stages whose records are not to be used."""
    inputs = input_files(action, records)
    if inputs is None:
        return Match(action, State.WAITS, reasons=(Reason(_waits_for(action, records)),))
    preimage = action.preimage(inputs)
    key = digest.of_json(preimage)
    if action.stage.name not in fresh and (record := store.find(key)):
        return Match(action, State.CACHED, key, preimage, record)
    if action.stage.name in fresh:
        reasons: tuple[Reason, ...] = (Reason("asked for by --no-cache"),)
    else:
        reasons = _reasons(action, preimage, key, store.latest(resolved.spec_id, action.label))
    return Match(action, State.RUN, key, preimage, reasons=reasons)


def match(plan: Plan, resolved: Resolved, store: Store, fresh: Collection[str] = ()) -> dict[str, Match]:
    """Look every action up, in order."""
    matches: dict[str, Match] = {}
    records: dict[str, Record] = {}
    for action in plan.actions.values():
        found = match_one(action, records, resolved, store, fresh)
        matches[action.id] = found
        if found.record:
            records[action.id] = found.record
    labels = {action.id: action.label for action in plan.actions.values()}
    return {
        id_: m
        if m.state is not State.WAITS
        else Match(m.action, State.WAITS, reasons=(Reason(_named(m.action, records, labels)),))
        for id_, m in matches.items()
    }


def _waits_for(action: Action, records: Mapping[str, Record]) -> str:
    return f"waits for {len([a for a in action.needs if a not in records])} actions"


def _named(action: Action, records: Mapping[str, Record], labels: Mapping[str, str]) -> str:
    waiting = [labels[id_] for id_ in action.needs if id_ not in records]
    return f"waits for {', '.join(waiting)}"


def _reasons(action: Action, preimage: Mapping[str, Any], key: str, latest: Record | None) -> tuple[Reason, ...]:
    if latest is None:
        return (Reason("not built before"),)
    if latest.key == key:
        return (Reason("its result is no longer in the cache"),)
    changes = differences(latest.preimage, preimage)
    return tuple(dict.fromkeys(explain_change(action, *change) for change in changes))


def differences(old: Any, new: Any, path: Path_ = ()) -> list[tuple[Path_, Any, Any]]:
    """The leaves that differ, as (path, old value, new value); a missing one is None. Named list items go by name."""
    old, new = _by_name(old), _by_name(new)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*new, *(key for key in old if key not in new)]
        return [leaf for key in keys for leaf in differences(old.get(key), new.get(key), (*path, key))]
    return [] if old == new else [(path, old, new)]


def _by_name(value: Any) -> Any:
    if isinstance(value, list) and value and all(isinstance(item, Mapping) and "name" in item for item in value):
        return {item["name"]: {k: v for k, v in item.items() if k != "name"} for item in value}
    return value


def explain_change(action: Action, path: Path_, old: Any, new: Any) -> Reason:
    """One changed leaf of a key pre-image in the user's words."""
    match path:
        case ("options", *rest):
            return _option_changed(action.origins["stage"], tuple(rest), old, new)
        case ("parts", str(kind), "options", *rest):
            return _option_changed(action.origins[kind], tuple(rest), old, new)
        case ("parts", str(kind), "revision"):
            return Reason(f"modelspec handles this {kind} in another way")
        case ("revision",):
            return Reason(f"modelspec does {action.stage.name} in another way")
        case ("inputs", str(name), *rest):
            return Reason(_input_changed(action, name, "/".join(map(str, rest)), old, new))
        case ("packages", str(name)):
            return Reason(f"{name} {old or 'absent'} -> {new or 'absent'}")
        case ("facts", str(name)):
            return Reason(f"another machine: {name} {old} -> {new}")
    return Reason(f"{'.'.join(map(str, path))} changed")


def _option_changed(origin: Path_, rest: Path_, old: Any, new: Any) -> Reason:
    path = (*origin, *rest)
    return Reason(f"{'.'.join(map(str, path))} {_short(old)} -> {_short(new)}", path)


def _input_changed(action: Action, name: str, file: str, old: Any, new: Any) -> str:
    if isinstance(action.inputs.get(name), Made):
        return f"{name} changed"
    verb = "is new" if old is None else "is gone" if new is None else "changed"
    return f"file {file or name} {verb}"


def _short(value: Any) -> str:
    text = "unset" if value is None else digest.canonical_json(value).decode()
    return text if len(text) <= 40 else text[:37] + "..."
