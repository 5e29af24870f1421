"""What is said of actions that cannot run, and of the machine; each with its line of model.yaml."""

from collections.abc import Mapping

from modelspec.errors import Diagnostic, ModelspecError
from modelspec.match import Match
from modelspec.plan import Action, Plan
from modelspec.resolve import Resolved
from modelspec.stage import OPTIONAL_PARTS


def placed(problem: Diagnostic, action: Action, resolved: Resolved) -> Diagnostic:
    """A stage's problem with its line in model.yaml: the option at fault, else the block the action comes from."""
    positions = resolved.loaded.positions
    kinds = ("loader", "stage", "framework", "target")
    places = [action.origins[k] for k in kinds if k in {"stage", "target", *action.parts} & set(action.origins)]
    path = next((place for place in places if positions.has(place)), places[0])
    if problem.path:
        parts = {"stage": action.stage, **action.parts}
        owners = (kind for kind, part in parts.items() if problem.path[0] in type(part).model_fields)
        exact = (*action.origins[next(owners, "stage")], *problem.path)
        if (part := str(problem.path[0])) in OPTIONAL_PARTS and part in action.parts:
            # These name their part: a loader too has `path` and `labels`.
            exact = (*action.origins[part], *problem.path[1:])
        # Of a block that is not written at all, no line can be shown.
        path = exact if positions.has(exact[:1]) else path
    return problem.at(file=str(resolved.loaded.file), span=positions.value(path), path=path)


def offline(action: Action) -> Diagnostic | None:
    """MS642 for work that takes the network."""
    if not (address := action.stage.address()):
        return None
    return Diagnostic(
        "MS642",
        f"{address.partition('?')[0]} is not in the cache, and --offline loads nothing",
        help=f"run modelspec build --until {action.stage.name} with a network first; or leave --offline out",
        path=("uri",),
    )


def require_offline(plan: Plan, matches: Mapping[str, Match], resolved: Resolved) -> None:
    """Raise MS642 for each action that would have to run, and takes the network."""
    work = [action for id_, action in plan.actions.items() if matches[id_].is_work]
    if found := tuple(
        placed(problem, action, resolved)
        for action in work
        if not action.stage.unresolved() and (problem := offline(action))
    ):
        raise ModelspecError(found)


def require_resolved(plan: Plan, resolved: Resolved) -> None:
    """Raise MS408 for what is not in model.lock and may not be looked up."""
    lacking = {text: action for action in plan.actions.values() if (text := action.stage.unresolved())}
    fix = "leave --offline out once, and check model.lock in"
    found = (
        placed(Diagnostic("MS408", f"{text} is not in model.lock, and --offline looks nothing up", help=fix), action, resolved)
        for text, action in lacking.items()
    )  # fmt: skip
    if problems := tuple(found):
        raise ModelspecError(problems)


def irreplaceable(action: Action) -> Diagnostic:
    """MS602 for a `recorded` result whose bytes are lost: made again unasked, it would be another."""
    return Diagnostic(
        "MS602",
        f"the recorded result of {action.label} is no longer whole in the cache, and cannot be made again",
        help=f"restore the cache; or accept another result: modelspec build --no-cache {action.stage.name}",
    )


def not_isolated(reason: str) -> Diagnostic:
    """MS453: the kernel did not take the network from the workers."""
    return Diagnostic(
        "MS453",
        f"actions keep the network here: {reason}",
        help="allow user namespaces, so that nothing can slip into a build from outside",
        severity="warning",
    )
