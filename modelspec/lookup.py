"""The contract of what has to be looked up in the world before it can be planned: a tag's digest, versions of packages.

What was found goes into model.lock, and is taken from there from then on: the network is asked once.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

Found = Mapping[str, str]


@dataclass(frozen=True)
class Lookup(ABC):
    """One question to the world."""

    stage: str
    """Whose question it is: `--update <stage>` asks it anew."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The question, as model.lock has it. The same name has the same answer."""

    @property
    def place(self) -> tuple[str, ...]:
        """Where in model.yaml it comes from, for messages."""
        return ("containerize",)

    @property
    def impossible(self) -> str:
        """Why it cannot be asked here; empty where it can."""
        return ""

    def is_like(self, name: str) -> bool:
        """Where it cannot be asked here: whether `name` is what it would be called where it can."""
        return name == self.name

    @abstractmethod
    def find(self) -> Found:
        """Ask. Raises ModelspecError."""
