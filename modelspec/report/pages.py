"""The pages of errors, `templates/errors/<code>.md`: a title, the cause, an example that fails and the same one fixed."""

import re
import textwrap
from dataclasses import dataclass

from modelspec import resources
from modelspec.errors import CODES

_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A fenced block: what it is written in, marks after that, and its text."""

    language: str
    marks: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Page:
    """The page of one code."""

    code: str
    text: str

    def examples(self, heading: str) -> list[Example]:
        """The blocks under `## <heading>`, which is `Fails` or `Fixed`: model.yaml, commands, other files by name."""
        section = self.text.partition(f"\n## {heading}\n")[2].split("\n## ", 1)[0]
        found = []
        for block in _FENCE.finditer(section):
            language, *marks = block["info"].split() or [""]
            found.append(Example(language, tuple(marks), block["body"]))
        return found

    def example(self, heading: str) -> Example | None:
        """The first block under `## <heading>`."""
        return next(iter(self.examples(heading)), None)

    def as_text(self, width: int) -> str:
        """For a terminal: headings without marks, paragraphs filled, examples indented."""
        rows: list[str] = []
        rest = self.text
        while block := _FENCE.search(rest):
            rows += _prose(rest[: block.start()], width)
            rows.append(textwrap.indent(block["body"].rstrip("\n"), "    "))
            rest = rest[block.end() :]
        rows += _prose(rest, width)
        status = CODES[self.code][0]
        return "\n\n".join([*rows, f"Exit status: {int(status)}."])


def _prose(text: str, width: int) -> list[str]:
    paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
    return [
        p.lstrip("# ") if p.startswith("#") else textwrap.fill(p.replace("`", "'"), min(width, 88)) for p in paragraphs
    ]


def read(code: str) -> Page:
    """The page of a code of the catalogue."""
    return Page(code, (resources.folder("templates") / "errors" / f"{code}.md").read_text(encoding="utf-8"))
