"""Where in the text each key and value of a spec is written."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

from modelspec.errors import Span

Place = tuple[str | int, ...]
"""A path of keys and indices from the root of the spec."""


class Positions(NamedTuple):
    """Spans by place. What is not written has the position of the nearest place around it that is."""

    keys: Mapping[Place, Span] = MappingProxyType({})
    values: Mapping[Place, Span] = MappingProxyType({})
    """Of what takes several lines, the first one."""
    long: Collection[Place] = ()
    """Places whose value takes several lines."""

    def key(self, path: Place) -> Span:
        """The span of the key at `path`; of the value where there is no key, as in a sequence."""
        for place in _outwards(path):
            if found := self.keys.get(place) or self.values.get(place):
                return found
        return Span(1, 1, 1, 1)

    def value(self, path: Place) -> Span:
        """The span of the value at `path`; of the key in front of it where the value takes several lines."""
        for place in _outwards(path):
            found = self.values.get(place)
            if found and place in self.keys and place in self.long:
                return self.keys[place]
            if found:
                return found
        return Span(1, 1, 1, 1)

    def has(self, path: Place) -> bool:
        """Whether something is written at exactly this place."""
        return path in self.values


def _outwards(path: Place) -> list[Place]:
    return [path[:length] for length in range(len(path), -1, -1)]
