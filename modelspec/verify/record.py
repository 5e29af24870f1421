"""What a published folder says of itself, read without trust: a wrong type or an unknown form is MS604."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelspec import registry, toolchain
from modelspec.errors import Diagnostic, ModelspecError, fail
from modelspec.figures import FORMAT
from modelspec.publication import BUILD
from modelspec.target import Name, Target

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Metrics = dict[str, float | None]

AGAIN = "remove the folder and build again, or fetch it again from where it comes"


class Said(BaseModel):
    """A part of a record. Keys that are not used here may be there."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class OutputSaid(Said):
    """One file that an action made; the path begins with its slot."""

    path: str
    sha256: Sha256


class ActionSaid(Said):
    """One action of the build."""

    label: str
    stage: str
    key: Sha256
    targets: tuple[Name, ...]
    determinism: str
    outputs: tuple[OutputSaid, ...]


class GateSaid(Said):
    """One limit of one gate on one target, and how it went."""

    target: Name
    metric: str
    kind: Literal["min", "max", "max_drop"]
    value: float | None
    limit: float
    written: float | str
    source: float | None
    passed: bool
    index: int | None


class MeasuredSaid(Said):
    """The figures of one stage that are true of one machine."""

    metrics: Metrics = {}


class ImageRecord(Said):
    """The image of a target: the digest that is deployed."""

    digest: str


class BuildSaid(Said):
    """build.json."""

    name: str
    version: str
    spec: Sha256
    checksums: Sha256
    tools: dict[str, str]
    environment: dict[str, str]
    actions: tuple[ActionSaid, ...]
    metrics: dict[Name, Metrics]
    measured: dict[Name, dict[str, MeasuredSaid]]
    gates: tuple[GateSaid, ...]
    deferred: tuple[Name, ...] = ()
    images: dict[Name, ImageRecord] = {}

    def other_tools(self, names: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """The tools, of those named or of all, that are of another version here: `onnx 1.20.0 -> 1.21.0`."""
        here = {name: _installed(name) for name in (self.tools if names is None else names)}
        return tuple(
            f"{name} {self.tools.get(name, 'absent')} -> {version or 'absent'}"
            for name, version in here.items()
            if self.tools.get(name) != version
        )

    def other_machine(self) -> tuple[str, ...]:
        """The facts on which results depend that are others here."""
        here = toolchain.facts(("arch", "isa"))
        return tuple(
            f"{name} {self.environment.get(name, 'unknown')} -> {value}"
            for name, value in here.items()
            if self.environment.get(name) != value
        )

    def digests(self, determinism: str | None = None) -> frozenset[str]:
        """The digests of all that the actions made, or those of one kind."""
        chosen = (action for action in self.actions if determinism in {None, action.determinism})
        return frozenset(output.sha256 for action in chosen for output in action.outputs)

    def artifact(self, label: str) -> list[str]:
        """The files of a target's artifact, relative to its folder: what its size is the sum of."""
        # What packs the artifact comes after what makes it, and is published in its place.
        made = [a for a in self.actions if a.stage in {"compile", "package"} and label in a.targets][-1:]
        paths = (output.path for action in made for output in action.outputs)
        return [path.removeprefix("artifact/") for path in paths if path.startswith("artifact/")]


class ParitySaid(Said):
    """The tolerance of the conversion, and of the golden files."""

    rtol: float = Field(1e-3, ge=0)
    atol: float = Field(1e-4, ge=0)


class ConvertSaid(Said):
    """What the conversion says."""

    parity: ParitySaid = ParitySaid()


class StagesSaid(Said):
    """What the stages say, of which only the conversion is used."""

    convert: ConvertSaid = ConvertSaid()


class MetricsSaid(Said):
    """metrics.json."""

    metrics: Metrics
    source: Metrics
    stages: StagesSaid


class CpuSaid(Said):
    """What a model asks of the CPU."""

    needs: tuple[str, ...] = ()


class ProcessingSaid(Said):
    """What is done before and after the model."""

    tokenizer: dict[str, Any] | None = None


class RuntimeSaid(Said):
    """runtime.json."""

    device: str
    precision: str
    cpu: CpuSaid = CpuSaid()
    processing: ProcessingSaid = ProcessingSaid()


class _Format(Said):
    formatVersion: int  # noqa: N815 - the spelling of the file


S = TypeVar("S", bound=Said)


def read_build(folder: Path) -> BuildSaid:
    """build.json. Raises MS604."""
    return _read(folder / BUILD, BUILD, BuildSaid)


def read_metrics(folder: Path, label: str) -> MetricsSaid:
    """The metrics.json of a target. Raises MS604."""
    name = f"{label}/metrics.json"
    return _read(folder / name, name, MetricsSaid)


def read_needs(folder: Path, label: str) -> tuple[str, ...]:
    """The CPU features without all of which a target's answers are not right. Raises MS604."""
    name = f"{label}/runtime.json"
    return _read(folder / name, name, RuntimeSaid).cpu.needs


def takes_text(folder: Path, label: str) -> bool:
    """Whether a target is asked in text, so that answers depend on the tokenizer's library too. Raises MS604."""
    name = f"{label}/runtime.json"
    return _read(folder / name, name, RuntimeSaid).processing.tokenizer is not None


def read_target(folder: Path, label: str) -> Target:
    """The target, as its runtime.json tells it. Raises MS604 for one that is not known here."""
    name = f"{label}/runtime.json"
    said = _read(folder / name, name, RuntimeSaid)
    kind = registry.targets().get(said.device)
    try:
        if kind is not None:
            return kind.model_validate({"device": said.device, "precision": said.precision})
    except ValidationError:
        pass
    raise fail(
        "MS604",
        f"{name} names {said.device} at {said.precision}, which this modelspec does not know",
        help=AGAIN,
    )


def _read(path: Path, name: str, kind: type[S]) -> S:
    data = path.read_bytes()
    try:
        version = _Format.model_validate_json(data).formatVersion
        if version != FORMAT:
            raise fail(
                "MS604",
                f"{name} is of format {version}, and this modelspec reads format {FORMAT}",
                help="verify it with the modelspec that wrote it",
            )
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise ModelspecError((Diagnostic("MS604", f"{name} cannot be read: {_reason(error)}", help=AGAIN),)) from error  # fmt: skip


def _reason(error: ValidationError) -> str:
    """The first thing that is wrong, with its place."""
    first: Any = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else str(first["msg"])


def _installed(tool: str) -> str | None:
    return toolchain.own_version() if tool == "modelspec" else toolchain.version(tool)
