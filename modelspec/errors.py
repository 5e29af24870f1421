"""One root, an exit status for each kind, and the catalogue of codes; `templates/errors/<code>.md` is a code's page."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Literal


class Exit(IntEnum):
    """What a command's exit status means."""

    OK = 0
    GATE = 1
    SPEC = 2
    STAGE = 3
    ENVIRONMENT = 4
    INTEGRITY = 5
    UNSAFE = 6
    WORK_TO_DO = 20
    BUG = 70
    INTERRUPTED = 130
    TERMINATED = 143


_WORST_FIRST = (Exit.BUG, Exit.UNSAFE, Exit.INTEGRITY, Exit.ENVIRONMENT, Exit.STAGE, Exit.SPEC, Exit.GATE)

CODES: dict[str, tuple[Exit, str]] = {
    # 1xx: the text of the file
    "MS101": (Exit.SPEC, "not valid YAML"),
    "MS102": (Exit.SPEC, "duplicate key"),
    "MS103": (Exit.SPEC, "the file is empty or not a mapping"),
    "MS104": (Exit.SPEC, "not UTF-8, or a character that YAML or modelspec refuses"),
    "MS105": (Exit.SPEC, "anchors, aliases and merge keys are refused"),
    "MS106": (Exit.SPEC, "tags are refused"),
    "MS107": (Exit.SPEC, "more than one document in the file"),
    "MS108": (Exit.SPEC, "nested too deeply, or too large"),
    "MS109": (Exit.SPEC, "the file cannot be read"),
    "MS110": (Exit.SPEC, "a key is not a string"),
    "MS111": (Exit.SPEC, "a number that YAML readers disagree on, or out of range"),
    # 2xx: the shape
    "MS201": (Exit.SPEC, "unknown key"),
    "MS202": (Exit.SPEC, "missing key"),
    "MS203": (Exit.SPEC, "not one of the allowed values"),
    "MS204": (Exit.SPEC, "wrong type"),
    "MS205": (Exit.SPEC, "out of range"),
    "MS206": (Exit.SPEC, "does not have the required form"),
    "MS207": (Exit.SPEC, "this apiVersion is not supported"),
    "MS210": (Exit.SPEC, "a path that cannot be used"),
    "MS211": (Exit.SPEC, "a path leaves the folder of the spec"),
    "MS212": (Exit.SPEC, "user code is written file.py:callable"),
    "MS213": (Exit.SPEC, "a quantity needs a unit"),
    "MS214": (Exit.SPEC, "not a dimension"),
    "MS215": (Exit.SPEC, "an empty range"),
    "MS216": (Exit.SPEC, "an address with a user or a password"),
    # 3xx: rules across keys, and the files the spec names
    "MS301": (Exit.SPEC, "no such data set"),
    "MS302": (Exit.SPEC, "the data set is read by nothing"),
    "MS303": (Exit.SPEC, "one data set for two purposes that do not mix"),
    "MS305": (Exit.SPEC, "the device does not offer this precision"),
    "MS306": (Exit.SPEC, "quantization options that no target uses"),
    "MS307": (Exit.SPEC, "a gate on a metric that nothing produces"),
    "MS308": (Exit.SPEC, "no such target"),
    "MS309": (Exit.SPEC, "two targets have one name"),
    "MS310": (Exit.SPEC, "the task cannot be told"),
    "MS311": (Exit.SPEC, "a metric of another task"),
    "MS312": (Exit.SPEC, "the metric needs labels"),
    "MS313": (Exit.SPEC, "the source needs a signature"),
    "MS314": (Exit.SPEC, "a regression needs a written gate"),
    "MS315": (Exit.SPEC, "a gate that limits nothing, or in the wrong direction"),
    "MS316": (Exit.SPEC, "a gate is switched off without a reason"),
    "MS317": (Exit.SPEC, "the file does not exist"),
    "MS318": (Exit.SPEC, "this modelspec is not the one the spec requires"),
    "MS319": (Exit.SPEC, "a key without effect"),
    "MS320": (Exit.SPEC, "the unit does not fit the metric"),
    "MS321": (Exit.SPEC, "no loader reads this file"),
    "MS322": (Exit.SPEC, "no model.yaml here"),
    "MS323": (Exit.SPEC, "no such output of the model"),
    "MS324": (Exit.SPEC, "the user code does not exist"),
    "MS325": (Exit.SPEC, "wrong use of the command line"),
    "MS326": (Exit.SPEC, "two metrics have one name"),
    "MS327": (Exit.SPEC, "tune without a gate"),
    "MS330": (Exit.SPEC, "the source cannot be pruned or trained so"),
    "MS331": (Exit.SPEC, "2:4 sparsity that no target can use"),
    "MS332": (Exit.SPEC, "training needs labels"),
    "MS390": (Exit.SPEC, "shapes that an engine cannot be built for"),
    "MS360": (Exit.SPEC, "not what Kubernetes takes here"),
    "MS361": (Exit.SPEC, "no Gateway, or two"),
    "MS362": (Exit.SPEC, "a part of manifests without effect"),
    "MS363": (Exit.SPEC, "a name that Kubernetes refuses"),
    "MS364": (Exit.SPEC, "manifests without a registry"),
    "MS365": (Exit.SPEC, "the server and its manifests disagree"),
    "MS366": (Exit.SPEC, "model.lock pins what is no amount"),
    "MS340": (Exit.SPEC, "a secret is written into the spec"),
    "MS341": (Exit.SPEC, "not a reference to a secret"),
    "MS345": (Exit.SPEC, "not the name of an image, or of a base image"),
    "MS346": (Exit.SPEC, "not a label of an image"),
    "MS347": (Exit.SPEC, "the base image has another Python"),
    "MS353": (Exit.SPEC, "not the name of an image"),
    "MS354": (Exit.SPEC, "nothing here that can be pushed"),
    "MS355": (Exit.SPEC, "the image is not built for the platform"),
    # 4xx: the environment
    "MS401": (Exit.ENVIRONMENT, "a package is not installed"),
    "MS402": (Exit.ENVIRONMENT, "a file or folder cannot be written or read"),
    "MS403": (Exit.ENVIRONMENT, "the disk is full"),
    "MS404": (Exit.ENVIRONMENT, "the operating system is not supported"),
    "MS405": (Exit.ENVIRONMENT, "a worker was killed"),
    "MS406": (Exit.ENVIRONMENT, "a worker ran out of memory"),
    "MS407": (Exit.ENVIRONMENT, "another build holds what this one needs"),
    "MS420": (Exit.ENVIRONMENT, "what builds for a device is not here"),
    "MS421": (Exit.ENVIRONMENT, "the GPU is not the one that was asked for"),
    "MS422": (Exit.ENVIRONMENT, "a device was not used"),
    "MS411": (Exit.ENVIRONMENT, "a registry refuses access"),
    "MS412": (Exit.ENVIRONMENT, "a registry cannot be reached, or fails"),
    "MS413": (Exit.ENVIRONMENT, "a registry has no such image"),
    "MS414": (Exit.ENVIRONMENT, "a credential helper gives no password"),
    "MS415": (Exit.ENVIRONMENT, "there is no Docker engine"),
    "MS416": (Exit.ENVIRONMENT, "the Docker engine may not be used"),
    "MS417": (Exit.ENVIRONMENT, "Docker's config cannot be read"),
    "MS418": (Exit.ENVIRONMENT, "the Docker engine is too old"),
    "MS408": (Exit.ENVIRONMENT, "--offline, and something has to be looked up"),
    "MS409": (Exit.ENVIRONMENT, "the packages of an image cannot be resolved"),
    "MS410": (Exit.ENVIRONMENT, "the packages of an image cannot be had"),
    # 5xx: stages and gates
    "MS501": (Exit.STAGE, "a stage failed"),
    "MS502": (Exit.GATE, "a gate failed"),
    "MS503": (Exit.STAGE, "the converted model differs from the source"),
    "MS504": (Exit.STAGE, "the source cannot be loaded"),
    "MS505": (Exit.STAGE, "the source cannot be exported to ONNX"),
    "MS506": (Exit.STAGE, "the exporter missed the asked opset"),
    "MS507": (Exit.STAGE, "the model and the signature disagree"),
    "MS508": (Exit.STAGE, "the data and the model disagree"),
    "MS509": (Exit.STAGE, "the data cannot be read"),
    "MS510": (Exit.STAGE, "nothing to quantize"),
    "MS511": (Exit.STAGE, "quantization failed"),
    "MS512": (Exit.STAGE, "no such node in the graph"),
    "MS513": (Exit.STAGE, "ONNX Runtime refuses the model"),
    "MS514": (Exit.STAGE, "no inputs can be generated"),
    "MS515": (Exit.STAGE, "the optimized model differs from its input"),
    "MS516": (Exit.STAGE, "a metric cannot be computed"),
    "MS517": (Exit.STAGE, "user code failed"),
    "MS518": (Exit.STAGE, "an undeclared import"),
    "MS520": (Exit.STAGE, "a worker exceeded its time"),
    "MS521": (Exit.STAGE, "the benchmark failed"),
    "MS522": (Exit.STAGE, "convolutions need calibration data"),
    "MS523": (Exit.GATE, "no build that was tried passes the gates"),
    "MS524": (Exit.STAGE, "the tokenizer cannot be used"),
    "MS525": (Exit.STAGE, "the tokenizer and the model disagree"),
    "MS526": (Exit.STAGE, "the class names and the model disagree"),
    "MS530": (Exit.STAGE, "nothing was pruned"),
    "MS531": (Exit.STAGE, "no such layer in the model"),
    "MS532": (Exit.STAGE, "layers are to lose different shares"),
    "MS533": (Exit.STAGE, "the dependencies of layers cannot be found"),
    "MS534": (Exit.STAGE, "training failed"),
    "MS580": (Exit.STAGE, "nodes that do not reach the precision"),
    "MS581": (Exit.STAGE, "the builder of engines refuses the model"),
    "MS582": (Exit.STAGE, "an engine that is not the one of its record"),
    "MS540": (Exit.STAGE, "a file cannot go into an image"),
    "MS541": (Exit.STAGE, "the base image cannot be used"),
    "MS542": (Exit.STAGE, "the Python of the base image is another"),
    "MS543": (Exit.STAGE, "the base image is not built for the platform"),
    "MS547": (Exit.STAGE, "the Docker engine cannot build the image"),
    "MS548": (Exit.STAGE, "a Dockerfile that does not say what the spec says"),
    # warnings of stages
    "MS570": (Exit.STAGE, "a template cannot be rendered"),
    "MS571": (Exit.STAGE, "what a template gives is not YAML"),
    "MS572": (Exit.STAGE, "not an object that Kubernetes takes"),
    "MS573": (Exit.STAGE, "a workload that is not confined"),
    "MS574": (Exit.STAGE, "a template without effect"),
    "MS576": (Exit.STAGE, "Triton cannot read the model as it is"),
    "MS551": (Exit.OK, "dynamic quantization of convolutions is slow"),
    "MS552": (Exit.OK, "static quantization of a transformer loses accuracy"),
    "MS553": (Exit.OK, "the quantized model is not smaller"),
    "MS554": (Exit.OK, "fewer calibration samples than asked"),
    "MS555": (Exit.OK, "answers that are no numbers"),
    "MS556": (Exit.OK, "weights that stay in float"),
    "MS557": (Exit.OK, "compression saves nothing"),
    "MS558": (Exit.OK, "zeros that nothing compresses"),
    "MS564": (Exit.OK, "measured on the CPU, not on the device"),
    "MS565": (Exit.OK, "a target that is deferred"),
    "MS566": (Exit.OK, "ranges of generated inputs"),
    "MS560": (Exit.OK, "weights of 8 bits beside float activations are slow"),
    "MS559": (Exit.OK, "texts that are cut"),
    "MS562": (Exit.OK, "an image for another machine than the model was verified on"),
    # warnings of the environment
    "MS451": (Exit.OK, "the cache cannot be written"),
    "MS452": (Exit.OK, "model.lock cannot be written"),
    "MS453": (Exit.OK, "actions keep the network"),
    # 6xx: integrity and safety
    "MS601": (Exit.INTEGRITY, "an input changed during the build"),
    "MS602": (Exit.INTEGRITY, "an artifact does not match its digest"),
    "MS603": (Exit.INTEGRITY, "the files of a published folder are not those of its build"),
    "MS604": (Exit.INTEGRITY, "the record of a build cannot be trusted"),
    "MS605": (Exit.INTEGRITY, "a published model does not answer as it did"),
    "MS606": (Exit.INTEGRITY, "the folder was not built from this spec"),
    "MS607": (Exit.INTEGRITY, "a rebuild gives other content"),
    "MS611": (Exit.UNSAFE, "a link leaves the folder of the spec"),
    "MS612": (Exit.UNSAFE, "an unsafe file format"),
    "MS613": (Exit.UNSAFE, "an unsafe archive or model file"),
    "MS614": (Exit.UNSAFE, "a file is not what its name says"),
    "MS615": (Exit.UNSAFE, "not the file that is trusted"),
    "MS620": (Exit.UNSAFE, "a cache that others can write to"),
    "MS630": (Exit.INTEGRITY, "model.lock cannot be understood"),
    "MS631": (Exit.INTEGRITY, "model.lock is out of date"),
    "MS632": (Exit.INTEGRITY, "a result is not the one that model.lock pins"),
    "MS633": (Exit.INTEGRITY, "there is no model.lock"),
    "MS650": (Exit.INTEGRITY, "an image is not whole"),
    "MS651": (Exit.INTEGRITY, "the model in an image is not the published one"),
    "MS653": (Exit.INTEGRITY, "a registry gives other bytes than their digest says"),
    "MS654": (Exit.INTEGRITY, "the version is in the registry with another digest"),
    "MS655": (Exit.INTEGRITY, "a manifest that cannot be understood"),
    "MS661": (Exit.UNSAFE, "a registry whose answer is not safe to use"),
    "MS640": (Exit.INTEGRITY, "a file from elsewhere has another digest"),
    "MS641": (Exit.ENVIRONMENT, "a file from elsewhere cannot be had"),
    "MS642": (Exit.ENVIRONMENT, "--offline, and a file from elsewhere is missing"),
}
"""Each code with the exit status it leads to and its title."""

CONFIDENTIAL = frozenset({"MS216", "MS340", "MS341"})
"""Problems with what may be a secret: no line of the file they speak of is shown."""


@dataclass(frozen=True)
class Span:
    """A stretch of text: lines and columns count from 1, in code points; the end is exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True)
class Diagnostic:
    """One problem, as data; `report` turns it into text."""

    code: str
    message: str
    help: str = ""
    label: str = ""
    why: str = ""
    file: str = ""
    span: Span | None = None
    also: tuple[tuple[Span, str], ...] = ()
    path: tuple[str | int, ...] = ()
    severity: Literal["error", "warning"] = "error"

    def __post_init__(self) -> None:
        assert self.code in CODES, f"{self.code} is not in the catalogue"

    @property
    def exit(self) -> Exit:
        return CODES[self.code][0]

    def at(self, **position: object) -> "Diagnostic":
        """The same problem with a position."""
        return replace(self, **position)  # type: ignore[arg-type]


@dataclass
class ModelspecError(Exception):
    """Anything that ends a command with a message. Carries every problem found, not the first."""

    diagnostics: tuple[Diagnostic, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def exit(self) -> Exit:
        return worst(diagnostic.exit for diagnostic in self.diagnostics if diagnostic.severity == "error")

    def __str__(self) -> str:
        return "; ".join(f"{d.code} {d.message}" for d in self.diagnostics)


def fail(
    code: str,
    message: str,
    *,
    help: str = "",
    why: str = "",
    path: tuple[str | int, ...] = (),
) -> ModelspecError:
    """The error of one problem. `path` leads to the option at fault, from the root of the spec or of the stage."""
    return ModelspecError((Diagnostic(code, message, help=help, why=why, path=path),))


def badness(status: Exit) -> int:
    """A number that is higher for the worse of two exit statuses."""
    return len(_WORST_FIRST) - _WORST_FIRST.index(status) if status in _WORST_FIRST else 0


def worst(exits: Iterable[Exit]) -> Exit:
    """Where several exit statuses apply, the one to use."""
    found = set(exits)
    return next((status for status in _WORST_FIRST if status in found), Exit.OK)
