"""Plan + store -> what is cached, what must run, what waits to know; and the reason, from the records' pre-images."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
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
    UNNEEDED = "not needed"


@dataclass(frozen=True)
class Reason:
    """Why an action runs: one sentence, the option that says so where it is one, and the values before and after."""

    text: str
    path: Path_ | None = None
    leaf: Path_ = ()
    """The changed leaf of the key's pre-image."""
    old: Any = None
    new: Any = None


@dataclass(frozen=True)
class Match:
    """An action with its state. The key is known unless it waits."""

    action: Action
    state: State
    key: str = ""
    preimage: Mapping[str, Any] = field(default_factory=dict)
    record: Record | None = None
    reasons: tuple[Reason, ...] = ()

    @property
    def is_work(self) -> bool:
        """Whether a build would do it, as far as can be told."""
        return self.state not in {State.CACHED, State.UNNEEDED}


def input_files(action: Action, records: Mapping[str, Record]) -> dict[str, dict[str, str]] | None:
    """Each input's files as relative path -> digest; None while an action it needs has no record and no known outputs."""
    found: dict[str, dict[str, str]] = {}
    for name, value in action.inputs.items():
        if isinstance(value, Given):
            found[name] = {file.name: file.sha256 for file in value.files}
        elif value.known is not None:
            found[name] = dict(value.known)
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
    if inputs is None or action.stage.unresolved():
        return Match(action, State.WAITS)
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
    waiting = (found for found in matches.values() if found.state is State.WAITS)
    return matches | {m.action.id: replace(m, reasons=(_waits_for(m.action, records, plan),)) for m in waiting}


def demanded(plan: Plan, matches: Mapping[str, Match], fresh: Collection[str] = ()) -> dict[str, Match]:
    """The matches of a plan; what has known outputs and no record runs only where its bytes are taken, or asked for."""
    found = {id_: matches[id_] for id_ in plan.actions}
    for action in plan.actions.values():
        known = found[action.id]
        if not action.is_fixed or known.state is State.CACHED or action.stage.name in fresh:
            continue
        takers = [found[taker.id] for taker in plan.actions.values() if action.id in taker.needs]
        if not takers:
            continue
        states = {taker.state for taker in takers}
        if states == {State.CACHED}:
            reason = Reason("whatever takes it is cached")
            found[action.id] = replace(known, state=State.UNNEEDED, reasons=(reason,))
        elif State.RUN not in states:
            waiting = ", ".join(taker.action.label for taker in takers if taker.state is State.WAITS)
            found[action.id] = replace(known, state=State.WAITS, reasons=(Reason(f"needed if it runs: {waiting}"),))
    return found


def _waits_for(action: Action, records: Mapping[str, Record], plan: Plan) -> Reason:
    if lacking := action.stage.unresolved():
        return Reason(f"{lacking} is not in model.lock; a build looks it up")
    return Reason(f"waits for {', '.join(plan.actions[id_].label for id_ in action.needs if id_ not in records)}")


def _reasons(action: Action, preimage: Mapping[str, Any], key: str, latest: Record | None) -> tuple[Reason, ...]:
    if latest is None:
        return (Reason("not built before"),)
    if latest.key == key:
        return (Reason("its result is no longer in the cache"),)
    return tuple(explain_change(action, *change) for change in differences(latest.preimage, preimage))


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


def explain_change(action: Action, leaf: Path_, old: Any, new: Any) -> Reason:
    """One changed leaf of a key pre-image in the user's words."""
    text, path = _in_words(action, leaf, old, new)
    return Reason(text, path, leaf, old, new)


def _in_words(action: Action, leaf: Path_, old: Any, new: Any) -> tuple[str, Path_ | None]:
    match leaf:
        case ("options", *rest):
            return _option_changed(action.origins["stage"], tuple(rest), old, new)
        case ("parts", str(kind), "options", *rest):
            return _option_changed(action.origins[kind], tuple(rest), old, new)
        case ("parts", str(kind), "revision"):
            return f"modelspec handles this {kind} in another way", None
        case ("revision",):
            return f"modelspec does {action.stage.name} in another way", None
        case ("inputs", str(name), *rest):
            return _input_changed(action, name, "/".join(map(str, rest)), old, new), None
        case ("packages", str(name)):
            return f"{name} {old or 'absent'} -> {new or 'absent'}", None
        case ("facts", str(name)):
            return f"another machine: {name} {old} -> {new}", None
    return f"{'.'.join(map(str, leaf))} changed", None


def _option_changed(origin: Path_, rest: Path_, old: Any, new: Any) -> tuple[str, Path_]:
    path = (*origin, *rest)
    return f"{'.'.join(map(str, path))} {_short(old)} -> {_short(new)}", path


def _input_changed(action: Action, name: str, file: str, old: Any, new: Any) -> str:
    if isinstance(action.inputs.get(name), Made):
        return f"{name} changed"
    verb = "is new" if old is None else "is gone" if new is None else "changed"
    return f"file {file or name} {verb}"


def _short(value: Any) -> str:
    text = "unset" if value is None else digest.canonical_json(value).decode()
    return text if len(text) <= 40 else text[:37] + "..."
