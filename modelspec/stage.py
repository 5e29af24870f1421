"""The contract of a stage: options, what it takes and gives, and its effect.

One file in `stages/` holds one subclass. Its fields are options; `configure` says when it is asked for; `run` is the
effect. What a stage reads and writes are named folders ("slots"): `convert` gives `model`, `quantize` takes `model`
and gives another, and the one that comes last in a target's chain is the one that is published.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self

from modelspec.class_names import ClassNames
from modelspec.errors import Diagnostic
from modelspec.framework import Files, Framework
from modelspec.loader import Loader
from modelspec.lookup import Found, Lookup, Pin
from modelspec.options import Options
from modelspec.signature import Signature
from modelspec.target import Session, Target
from modelspec.tokenizer import Tokenizer, in_text

OPTIONAL_PARTS: Mapping[str, type[Options]] = {"tokenizer": Tokenizer, "classes": ClassNames}
"""Parts that not every spec has."""


class Determinism(StrEnum):
    """What a record of the same key promises elsewhere."""

    EXACT = "exact"
    NUMERIC = "numeric"
    RECORDED = "recorded"
    MEASURED = "measured"


@dataclass(frozen=True)
class Request:
    """What a stage may know when it decides whether it is asked for: the spec, and one target."""

    framework: Framework
    signature: Signature
    blocks: Mapping[str, Any]
    """The parsed blocks of model.yaml by name, for those that are present."""
    data: Mapping[str, Loader]
    target: Target | None = None
    index: int = 0
    """The place of the target in the spec's list."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """What the spec says of the model itself: name, version and, where they are written, the keys of its card."""
    found: Mapping[str, Found] = field(default_factory=dict)
    """What is known of the stages' questions to the world and pinned of their figures, by name."""
    deferred: bool = False
    """Whether another machine is to compile for the target."""

    @property
    def sample(self) -> str | None:
        """The data set that models are compared on: that of the evaluation; else that of any other block or target that
        names one; else none."""
        blocks = [self.blocks.get("evaluate"), *self.blocks.values(), self.target]
        return next((name for block in blocks for name in _named(block) if name in self.data), None)

    @property
    def tokenizer(self) -> Tokenizer | None:
        """What makes numbers of text, where the spec has one."""
        return getattr(self.blocks.get("processing"), "tokenizer", None)

    @property
    def classes(self) -> ClassNames | None:
        """The names of the classes, where the spec has them."""
        labels = getattr(self.blocks.get("processing"), "labels", None)
        return None if labels is None else ClassNames(labels=labels)

    @property
    def served(self) -> dict[str, str]:
        """What `Job.open_session` takes beside the artifact."""
        return {"runtime": "runtime"} if self.tokenizer else {}


def _named(block: Any) -> list[str]:
    """The data sets that a block names in its fields `data`, at any depth."""
    if isinstance(block, Mapping):
        return [name for value in block.values() for name in _named(value)]
    if not isinstance(block, Options):
        return []
    own = getattr(block, "data", None)
    below = [name for field in type(block).model_fields for name in _named(getattr(block, field))]
    return ([own] if isinstance(own, str) else []) + below


@dataclass(frozen=True)
class Job:
    """What a running stage may know: its input folders, its output folders, and the parts it was planned with."""

    root: Path
    signature: Signature = field(default_factory=Signature)
    framework: Framework | None = None
    loader: Loader | None = None
    target: Target | None = None
    tokenizer: Tokenizer | None = None
    classes: ClassNames | None = None
    warnings: list[Diagnostic] = field(default_factory=list)
    resume: Path | None = None
    """For a stage that `resumes`: the file that outlives the run."""

    def input(self, slot: str) -> Path:
        """The folder with the files of an input."""
        return self.root / "in" / slot

    @property
    def measured(self) -> Path:
        """The folder with what is run to measure the target."""
        assert self.target is not None
        return self.input(self.target.measured)

    def has(self, slot: str) -> bool:
        """Whether an optional input was given."""
        return self.input(slot).is_dir()

    def output(self, slot: str) -> Path:
        """The folder for the files of an output; made when it is first asked for."""
        folder = self.root / "out" / slot
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def open_session(self) -> Session:
        """The artifact as it is served: asked in text, where a tokenizer belongs to it."""
        assert self.target is not None
        session = self.target.open_session(self.measured)
        if self.tokenizer is None:
            return session
        return in_text(session, self.input("runtime") / "runtime.json", self.files.path("tokenizer"))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes; none where the spec has none. Raises MS526."""
        return self.classes.read(self.files.path("labels")) if self.classes else ()

    @property
    def files(self) -> Files:
        """The inputs as a framework or a loader sees them."""
        return Files(self.root / "in")

    def warn(self, code: str, message: str, *, help: str = "", path: tuple[str | int, ...] = ()) -> None:
        """Say something that does not stop the build; it is kept with the record and said again when cached."""
        self.warnings.append(Diagnostic(code, message, help=help, path=path, severity="warning"))


class Stage(Options):
    """One kind of work."""

    name: ClassVar[str]
    """The name of the file."""
    summary: ClassVar[str]
    """One line for the table in the README and for `doctor`."""
    revision: ClassVar[int]
    """Raise it when the same key would give other bytes."""
    after: ClassVar[tuple[str, ...]] = ()
    """Stages that come earlier in a target's chain."""
    takes: ClassVar[tuple[str, ...]] = ()
    """Slots this stage reads. `<slot>:<data set>` is made on demand by the stage that `provides` it."""
    gives: ClassVar[tuple[str, ...]]
    """Slots this stage writes."""
    provides: ClassVar[str] = ""
    """Slot made on demand for a data set, outside a target's chain."""
    publishes: ClassVar[Mapping[str, str]] = {}
    """Slots whose files go into the target's folder under dist/, with the folder they go to ("" for the top)."""
    parts: ClassVar[tuple[str, ...]] = ()
    """Which of `framework`, `signature`, `loader`, `target` the work depends on: keyed, and handed to the job. And which of
    `OPTIONAL_PARTS`, where the spec has them."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions whose versions can change the result, beyond those of its parts."""
    optional: ClassVar[tuple[str, ...]] = ()
    """Those that only some of its options take; see `distributions`."""
    imports: ClassVar[tuple[str, ...]] = ()
    """Modules the worker server loads once, before it forks."""
    facts: ClassVar[tuple[str, ...]] = ()
    """Hardware facts that can change the result (see `toolchain.facts`), beyond those of its parts."""
    determinism: ClassVar[Determinism]
    gated: ClassVar[bool] = False
    """Whether it runs only after the gates of its targets have passed. What it gives is then of no concern to them."""
    exclusive: ClassVar[bool] = False
    """Whether nothing else may run on the machine meanwhile."""
    network: ClassVar[bool] = False
    """Whether the worker keeps the network."""
    extra: ClassVar[str] = "remote"
    """The extra of the distribution that brings `tools`."""
    resumes: ClassVar[bool] = False
    """Whether what a failed or ended run leaves at `job.resume` is taken up by the next one."""
    block_name: ClassVar[str] = ""
    """The key of the stage's block in model.yaml, when that is not the stage's name."""
    block: ClassVar[Any] = None
    """The type of the stage's block in model.yaml when that is not the stage itself; `False` when it has no block."""

    @classmethod
    def configure(cls, request: Request) -> Self | None:
        """The options for `request.target`, or None when the stage is not asked for."""
        return request.blocks.get(cls.name)

    @classmethod
    def lookups(cls, request: Request) -> tuple[Lookup, ...]:
        """What has to be looked up in the world before `configure` can know everything."""
        return ()

    @classmethod
    def pins(cls, request: Request) -> tuple[Pin, ...]:
        """What `configure` takes of the figures of another stage, where model.lock has it."""
        return ()

    @classmethod
    def origin(cls, request: Request) -> tuple[str | int, ...]:
        """Where in model.yaml the options come from, for messages that name a line."""
        return (cls.name,)

    @classmethod
    def provide(cls, request: Request, dataset: str) -> Self:
        """The options that make the slot `<provides>:<dataset>`."""
        raise NotImplementedError

    def promised(self) -> Determinism:
        """How reproducible the work is with these options."""
        return self.determinism

    def distributions(self) -> tuple[str, ...]:
        """The distributions whose versions can change the result with these options."""
        return self.packages

    def depends_on(self) -> tuple[str, ...]:
        """The hardware facts that can change the result with these options."""
        return self.facts

    def known(self) -> Mapping[str, Mapping[str, str]] | None:
        """The outputs, where they are known before it runs: slot -> relative path -> SHA-256.

        Whatever takes them has its key at once, and the work is not done where nobody needs the bytes.
        """
        return None

    def unresolved(self) -> str:
        """What is not looked up yet, so that it cannot run; "" for nothing."""
        return ""

    def tools(self) -> tuple[str, ...]:
        """Distributions that the work takes and that cannot change its result: not keyed."""
        return ()

    def address(self) -> str:
        """What is loaded over the network; "" for nothing."""
        return ""

    def inputs(self, request: Request) -> Mapping[str, str]:
        """Local input name -> slot, or `<slot>:<data set>`; local names become folders of the job.

        The name `published` stands for every slot that is published so far, each as `published-<slot>/<its folder>`, and
        `metrics` for the reproducible figures of each stage so far, as `metrics-<number>-<stage>`.

        The files and the code of the stage's parts need no mention: the planner adds them.
        """
        return {slot: slot for slot in self.takes}

    @abstractmethod
    def run(self, job: Job) -> None:
        """Read `job.input(...)`, write `job.output(...)`. Raises ModelspecError with a 5xx code."""


def measured(inputs: Mapping[str, str], request: Request) -> dict[str, str]:
    """The inputs of a stage that runs the target, with what is run for it in place of the artifact."""
    slot = request.target.measured if request.target else "artifact"
    return {slot if name == "artifact" else name: slot if of == "artifact" else of for name, of in inputs.items()}
