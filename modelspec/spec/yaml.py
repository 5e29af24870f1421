"""Text -> mappings, tuples and scalars with a position for every node: a strict subset of YAML 1.2.

Works on the parser's events, so that nothing is built before it was looked at, and without recursion.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from modelspec.errors import Diagnostic, Span
from modelspec.spec.positions import Place, Positions
from modelspec.spec.scalars import RefusedNumberError, resolve
from modelspec.spec.text import REFUSED, decode, name_of, split_lines

MAX_DEPTH = 64
MAX_NODES = 10_000
"""Keys and values of a spec. Far more than anyone writes, and few enough to be looked at in a moment."""
MAX_PROBLEMS = 100
"""Problems that are reported at once; the rest can wait until these are mended."""

_Parser = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Document(NamedTuple):
    """What was read, and everything wrong with it."""

    data: Any
    positions: Positions
    lines: tuple[str, ...]
    problems: tuple[Diagnostic, ...]
    broken: frozenset[Place]
    """Places whose value was refused; what is said of them later would only repeat it."""
    complete: bool
    """Whether all of it was read."""


@dataclass
class _Frame:
    """A collection that is being read."""

    place: Place
    start: Any
    flow: bool
    mapping: dict[str, Any] | None
    items: list[Any] = field(default_factory=list)
    key: str | None = None
    """The key whose value comes next."""
    skip: bool = False
    """The next value belongs to a refused key."""


def parse(raw: bytes) -> Document:
    """Read all of it; the problems found are part of the result."""
    text, problems = decode(raw)
    lines = split_lines(text)
    if problems:
        return Document(None, Positions(), lines, tuple(problems), frozenset(), complete=False)
    reader = _Reader(lines)
    complete = reader.read(text)
    if complete and not isinstance(reader.root, dict):
        from modelspec.spec.syntax import not_a_mapping

        reader.problems.append(not_a_mapping(reader.root, reader.values.get(())))
        complete = False
    return Document(
        reader.root,
        Positions(reader.keys, reader.values, frozenset(reader.long)),
        lines,
        tuple(reader.problems),
        frozenset(reader.broken),
        complete,
    )


class _Reader:
    def __init__(self, lines: tuple[str, ...]) -> None:
        self.lines = lines
        self.root: Any = None
        self.keys: dict[Place, Span] = {}
        self.values: dict[Place, Span] = {}
        self.long: set[Place] = set()
        self.problems: list[Diagnostic] = []
        self.broken: set[Place] = set()
        self.stack: list[_Frame] = []
        self.nodes = 0
        self.skipping = 0
        """Depth inside a value that is not kept."""

    def read(self, text: str) -> bool:
        """Whether the end of the document was reached."""
        documents = 0
        try:
            for event in yaml.parse(text, Loader=_Parser):
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if event.tags:
                        self.refuse("MS106", "a %TAG directive is refused", event, "remove it")
                    if documents > 1:
                        self.refuse(
                            "MS107",
                            "a second document begins here",
                            event,
                            "one file holds one spec: remove the '---', or split the file",
                        )
                        return True
                elif isinstance(event, yaml.NodeEvent):
                    self.nodes += 1
                    self.node(event)
                elif isinstance(event, yaml.CollectionEndEvent):
                    self.end(event)
                if self.too_much(event):
                    return False
        except yaml.YAMLError as error:
            from modelspec.spec.syntax import syntax_problem

            bracket = self.stack[-1].start if self.stack and self.stack[-1].flow else None
            self.problems.append(syntax_problem(error, self.lines, bracket, MAX_DEPTH))
            return False
        return True

    def too_much(self, event: Any) -> bool:
        """Whether to stop here: no spec is like this, and what follows would only take time."""
        if len(self.stack) + self.skipping > MAX_DEPTH:
            from modelspec.spec.syntax import too_deep

            self.problems.append(too_deep(MAX_DEPTH, self.span(event)))
            return True
        if self.nodes > MAX_NODES:
            message = f"the file has more than {MAX_NODES} keys and values"
            self.refuse("MS108", message, event, "keep data in files of their own, and name them here")
            return True
        return len(self.problems) >= MAX_PROBLEMS

    def refuse(self, code: str, message: str, event: Any, help: str) -> None:
        self.problems.append(Diagnostic(code, message, help=help, span=self.span(event)))

    def span(self, event: Any) -> Span:
        """A position on one line: what goes on for longer is marked up to the end of its first line."""
        start, end = event.start_mark, event.end_mark
        if end.line == start.line:
            return Span(start.line + 1, start.column + 1, end.line + 1, max(end.column, start.column + 1) + 1)
        return Span(
            start.line + 1, start.column + 1, start.line + 1, max(len(self.lines[start.line]), start.column + 1) + 1
        )

    def node(self, event: Any) -> None:
        """One scalar, alias, or beginning of a collection."""
        if self.skipping:
            self.skipping += isinstance(event, yaml.CollectionStartEvent)
            return
        frame = self.stack[-1] if self.stack else None
        if frame and frame.mapping is not None and frame.key is None and not frame.skip:
            self.key(frame, event)
            return
        place = self.place(frame)
        if frame and frame.skip:
            frame.skip = False
            self.skipping += isinstance(event, yaml.CollectionStartEvent)
            return
        self.values[place] = self.span(event)
        if event.start_mark.line != event.end_mark.line:
            self.long.add(place)
        self.properties(event, place)
        if isinstance(event, yaml.CollectionStartEvent):
            mapping: dict[str, Any] | None = {} if isinstance(event, yaml.MappingStartEvent) else None
            self.stack.append(_Frame(place, event.start_mark, bool(event.flow_style), mapping))
        elif isinstance(event, yaml.ScalarEvent):
            self.put(self.scalar(event, place))
        else:
            self.put(None)

    def place(self, frame: _Frame | None) -> Place:
        if frame is None:
            return ()
        return (*frame.place, len(frame.items) if frame.mapping is None else frame.key or "")

    def properties(self, event: Any, place: Place) -> None:
        """Refuse aliases, anchors and tags."""
        if isinstance(event, yaml.AliasEvent):
            self.broken.add(place)
            self.refuse(
                "MS105",
                f"the alias '*{event.anchor}' is refused",
                event,
                "write the value out; every line then says what it does",
            )
            return
        if event.anchor is not None:
            self.refuse("MS105", f"the anchor '&{event.anchor}' is refused", event, f"remove '&{event.anchor}'")
        if event.tag is not None:
            self.broken.add(place)
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.refuse(
                "MS106", f"the tag '{tag}' is refused", event, "remove it; quote the value where a string is meant"
            )

    def key(self, frame: _Frame, event: Any) -> None:
        """Take the key of the next value, or refuse it together with that value."""
        assert frame.mapping is not None
        known = len(self.problems)
        self.take_key(frame, event)
        if frame.skip and self.problems[known:] and self.problems[-1].code != "MS102":
            self.broken.add((*frame.place, ""))

    def take_key(self, frame: _Frame, event: Any) -> None:
        assert frame.mapping is not None
        frame.skip = True
        if not isinstance(event, yaml.ScalarEvent):
            self.skipping += isinstance(event, yaml.CollectionStartEvent)
            if isinstance(event, yaml.AliasEvent):
                self.properties(event, frame.place)
            else:
                self.refuse("MS110", "a key is a collection", event, "write a plain word as the key")
            return
        self.properties(event, (*frame.place, event.value))
        plain = event.implicit[0]
        if plain and event.value == "<<":
            self.broken.add(frame.place)
            self.refuse("MS105", "the merge key '<<' is refused", event, "write the keys out")
            return
        name = self.scalar(event, (*frame.place, event.value))
        if not isinstance(name, str):
            if (*frame.place, event.value) not in self.broken:
                fix = f'quote it: "{event.value}"' if event.value else "write a word as the key"
                self.refuse("MS110", f"the key {event.value or 'null'} is not a string", event, fix)
            return
        place = (*frame.place, name)
        if name in frame.mapping:
            self.duplicate(place, event)
            return
        frame.skip = False
        frame.key = name
        self.keys[place] = self.span(event)
        frame.mapping[name] = None

    def duplicate(self, place: Place, event: Any) -> None:
        self.problems.append(
            Diagnostic(
                "MS102",
                f"duplicate key {place[-1]!r}",
                help="keep one of the two",
                span=self.span(event),
                also=((self.keys[place], "first written here"),),
                path=place,
            )
        )

    def scalar(self, event: Any, place: Place) -> Any:
        """The value of a scalar; quoted and block ones are strings."""
        if found := REFUSED.search(event.value):
            self.broken.add(place)
            self.refuse(
                "MS104", f"the character {name_of(found.group())} is refused", event, "remove it from the string"
            )
        if not event.implicit[0]:
            return event.value
        try:
            return resolve(event.value)
        except RefusedNumberError as error:
            self.broken.add(place)
            message, fix = error.args
            self.refuse("MS111", message, event, fix)
            return None

    def put(self, value: Any) -> None:
        """Give a finished value to the collection around it."""
        if not self.stack:
            self.root = value
            return
        frame = self.stack[-1]
        if frame.mapping is None:
            frame.items.append(value)
        else:
            assert frame.key is not None
            frame.mapping[frame.key] = value
            frame.key = None

    def end(self, event: Any) -> None:
        """Close a collection."""
        if self.skipping:
            self.skipping -= 1
            return
        frame = self.stack.pop()
        if frame.place:
            self.values[frame.place] = self.extent(frame, event)
        self.put(tuple(frame.items) if frame.mapping is None else frame.mapping)

    def extent(self, frame: _Frame, event: Any) -> Span:
        """The brackets of a flow collection; the first line of one that takes several."""
        start, end = frame.start, event.end_mark
        if frame.flow and start.line == end.line:
            return Span(start.line + 1, start.column + 1, end.line + 1, end.column + 1)
        self.long.add(frame.place)
        return Span(
            start.line + 1, start.column + 1, start.line + 1, len(self.lines[start.line].split(" #")[0].rstrip()) + 1
        )
