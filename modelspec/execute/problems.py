"""What is said of actions that cannot run, and of the machine; each with its line of model.yaml."""

from modelspec.errors import Diagnostic
from modelspec.plan import Action
from modelspec.resolve import Resolved


def placed(problem: Diagnostic, action: Action, resolved: Resolved) -> Diagnostic:
    """A stage's problem with its line in model.yaml: the option at fault, else the block the action comes from."""
    positions = resolved.loaded.positions
    if problem.path:
        parts = {"stage": action.stage, **action.parts}
        owners = (kind for kind, part in parts.items() if problem.path[0] in type(part).model_fields)
        path = (*action.origins[next(owners, "stage")], *problem.path)
    else:
        kinds = ("loader", "stage", "framework", "target")
        places = [action.origins[k] for k in kinds if k in {"stage", "target", *action.parts} & set(action.origins)]
        path = next((place for place in places if positions.has(place)), places[0])
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
