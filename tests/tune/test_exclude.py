"""The fewest nodes that have to stay in float, by what passes."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

import pytest

from modelspec.tune.exclude import _fewest, _literal

NODES = list("abcdefghijklmnop")


def searched(needed: str) -> tuple[list[str], int]:
    """The smallest set that was seen to pass where exactly `needed` have to stay, and how many were tried."""
    tried: list[str] = []

    def passes(nodes: Sequence[str]) -> bool:
        tried.append("".join(nodes))
        return set(needed) <= set(nodes)

    _fewest(NODES, passes)
    assert len(set(tried)) == len(tried)
    return sorted((one for one in tried if set(needed) <= set(one)), key=len)[:1], len(tried)


@pytest.mark.parametrize("needed", ["a", "ab", "b", "c", "ag", "abcdefg", "no", "bdfh"])
def test_exactly_those_are_found(needed: str) -> None:
    (found,), count = searched(needed)
    assert found == needed
    worst = NODES.index(needed[-1]) + 1
    assert count <= 2 * worst.bit_length() + worst


def test_the_worst_is_tried_first() -> None:
    assert searched("a") == (["a"], 1)


def test_all_of_them_are_never_left_in_float() -> None:
    """Then nothing would be quantized, and the build refuse."""
    assert searched("p") == ([], 5)


def test_a_name_is_no_pattern() -> None:
    for name in ("node[0]", "a*b", "what?", "[!x]", "/layer.0/MatMul", "]x["):
        assert fnmatchcase(name, _literal(name))
        assert not fnmatchcase(re.sub(r"[^a-z/]", "z", name), _literal(name)) or name.isalpha()
