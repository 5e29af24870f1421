"""Which layers `prune` means: names and patterns of the spec against the layers of a model."""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from modelspec.errors import ModelspecError, fail
from modelspec.words import closest


def excluded(patterns: Iterable[str], names: Iterable[str]) -> set[str]:
    """The layers that `exclude` names. Raises MS531 for each pattern that names none."""
    names = list(names)
    _require_known([(pattern, ("exclude", index)) for index, pattern in enumerate(patterns)], names)
    return {name for name in names if any(_matches(name, pattern) for pattern in patterns)}


def shares(layers: Mapping[str, float], default: float | None, names: Iterable[str]) -> dict[str, float]:
    """The share to remove of each layer. Raises MS531 for a pattern that names none, MS532 for two that disagree, MS530
    for a default that no layer takes."""
    names = list(names)
    _require_known([(pattern, ("layers", pattern)) for pattern in layers], names)
    found: dict[str, float] = {}
    unnamed = not layers
    for name in names:
        said = {pattern: share for pattern, share in layers.items() if _matches(name, pattern)}
        if len(set(said.values())) > 1:
            one, two = sorted(said, key=lambda pattern: said[pattern])[:: len(said) - 1]
            raise fail(
                "MS532",
                f"the layer {name!r} is to lose {said[one]:g} by {one!r} and {said[two]:g} by {two!r}",
                help="write patterns of which one alone names the layer",
                path=("layers", two),
            )
        unnamed |= not said
        share = next(iter(said.values()), default)
        if share is not None:
            found[name] = share
    if default is not None and not unnamed:
        raise fail(
            "MS530",
            "'sparsity' removes nothing: 'layers' names every layer",
            help="remove sparsity",
            path=("sparsity",),
        )
    return found


def require_effect(layers: Mapping[str, float], pruned: Iterable[str], kept: Mapping[str, str]) -> None:
    """Each pattern of `layers` removed something. Raises MS530 with the reason where one did not."""
    pruned = set(pruned)
    for pattern in layers:
        if not any(_matches(name, pattern) for name in pruned):
            reasons = sorted({reason for name, reason in kept.items() if _matches(name, pattern)})
            raise fail(
                "MS530",
                f"nothing of the layers {pattern!r} was pruned: {'; '.join(reasons) or 'they have no weights'}",
                help="remove the pattern, or raise its share",
                path=("layers", pattern),
            )


def _places(name: str) -> Iterator[str]:
    """The name of a layer, and those of the blocks it is in."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def _matches(name: str, pattern: str) -> bool:
    return any(fnmatchcase(place, pattern) for place in _places(name))


def _require_known(patterns: Iterable[tuple[str, tuple[str | int, ...]]], names: list[str]) -> None:
    problems: list[ModelspecError] = []
    for pattern, path in patterns:
        if not any(_matches(name, pattern) for name in names):
            near = closest(pattern, [place for name in names for place in _places(name)])
            fix = f"did you mean {near!r}?" if near else f"some of them: {', '.join(map(repr, names[:5]))}"
            problems.append(fail("MS531", f"no layer that can be pruned is named {pattern!r}", help=fix, path=path))
    if problems:
        raise ModelspecError(tuple(d for problem in problems for d in problem.diagnostics))
