"""Colours, and nothing else: no meaning is carried by colour alone."""

import re
from dataclasses import dataclass

_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Style:
    """Wraps text in terminal colours, or leaves it alone."""

    color: bool = False

    def _wrap(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color else text

    def bold(self, text: str) -> str:
        return self._wrap(text, "1")

    def dim(self, text: str) -> str:
        return self._wrap(text, "2")

    def red(self, text: str) -> str:
        return self._wrap(text, "31")

    def green(self, text: str) -> str:
        return self._wrap(text, "32")

    def yellow(self, text: str) -> str:
        return self._wrap(text, "33")

    @staticmethod
    def plain(text: str) -> str:
        """The text without its colours."""
        return _ESCAPE.sub("", text)
