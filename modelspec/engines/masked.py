"""An engine without that in which two builds of the same graph were seen to differ: the names that the compiler makes up, and
the order of lines of its shape program that do not depend on each other.

Each such line multiplies the size of an input by a constant, and stands beside others that do the same:

    mul={ name="__mye8668" output={"__mye8668" } input={"__mye2432_shape_..." "__s^100352i64" } stream=0  layers="" }
"""

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from modelspec import digest

_MADE_UP = re.compile(rb"__mye\d+")
_PRODUCT = re.compile(rb'  mul=\{ name="__myeN" output=\{"__myeN" \} input=\{"__myeN_shape_[^"]*" "__s\^\d+i64" \}')


def masked(path: Path) -> bytes:
    """The bytes of the engine: each made-up number is one letter, products of sizes beside each other are sorted."""
    return b"\n".join(_ordered(_MADE_UP.sub(b"__myeN", path.read_bytes()).split(b"\n")))


def _ordered(lines: list[bytes]) -> Iterator[bytes]:
    for is_product, group in groupby(lines, key=lambda line: _PRODUCT.match(line) is not None):
        run = list(group)
        yield from sorted(run) if is_product else run


def content(path: Path) -> str:
    """The SHA-256 of that."""
    return digest.of_bytes(masked(path))
