"""The contracts of what a plan takes from model.lock: what was looked up in the world, and what was measured.

A tag's digest or the versions of packages are asked for once, over the network; figures of a machine are pinned by
`--update <stage>` alone. From then on both are what model.lock says.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Pin(ABC):
    """Something that figures of a target say. A build can do without, and then has a default."""

    stage: str
    """Whose figures they are: `--update <stage>` pins it, and nothing else does."""
    target: str

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is, as model.lock has it."""

    @abstractmethod
    def answer(self, figures: Mapping[str, Any]) -> Found:
        """What the stage's figures say of it; empty where they say nothing."""
