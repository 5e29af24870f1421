"""Nodes by name or pattern."""

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from modelspec.errors import ModelspecError, fail
from modelspec.words import closest

if TYPE_CHECKING:
    from onnx import ModelProto


def matching_nodes(model: "ModelProto", patterns: tuple[str, ...]) -> list[str]:
    """The nodes that the patterns name. Raises MS512 for a pattern that names none."""
    names = [node.name for node in model.graph.node]
    problems: list[ModelspecError] = []
    found: set[str] = set()
    for index, pattern in enumerate(patterns):
        matching = {name for name in names if name and fnmatchcase(name, pattern)}
        if not matching:
            near = closest(pattern, names)
            fix = f"did you mean {near!r}?" if near else f"some of its nodes: {', '.join(map(repr, names[:5]))}"
            problems.append(
                fail("MS512", f"no node of the graph is named {pattern!r}", help=fix, path=("exclude", index))
            )
        found |= matching
    if problems:
        raise ModelspecError(tuple(d for problem in problems for d in problem.diagnostics))
    return sorted(found)
