"""What travels with the model and is part of every answer: the tokenizer that takes text in, the names of the classes."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import ConfigDict, Field, model_validator

from modelspec.class_names import named_outputs
from modelspec.errors import fail
from modelspec.options import refuse
from modelspec.remote import ProjectFile
from modelspec.signature import Signature, TensorSpec
from modelspec.stage import Determinism, Job, Request, Stage
from modelspec.tokenizer import Tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from modelspec.runtime.processing import TextInput

    Arrays = Mapping[str, NDArray[Any]]

TEXTS = (
    "The ferry leaves at seven.",
    "a",
    "How long does it take to boil an egg at high altitude, and does it matter how old the egg is?",
    "Größe, naïve café, 東京",
)
"""What is asked where no data set holds texts."""


LABELS = "labels.txt"


class Processing(Stage):
    """signature + runtime + samples -> the same as they are seen from outside."""

    name: ClassVar[str] = "processing"
    summary: ClassVar[str] = "take text in through a tokenizer, name the classes that come out"
    revision: ClassVar[int] = 1
    after: ClassVar[tuple[str, ...]] = ("compile",)
    takes: ClassVar[tuple[str, ...]] = ("signature", "runtime", "samples")
    gives: ClassVar[tuple[str, ...]] = ("signature", "runtime", "samples", "processing", "metrics")
    publishes: ClassVar[Mapping[str, str]] = {"signature": "", "runtime": "", "processing": ""}
    parts: ClassVar[tuple[str, ...]] = ("target", "tokenizer", "classes")
    packages: ClassVar[tuple[str, ...]] = ("numpy",)
    facts: ClassVar[tuple[str, ...]] = ("arch", "isa")
    determinism: ClassVar[Determinism] = Determinism.NUMERIC

    paths: ClassVar[tuple[str, ...]] = ("labels",)
    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    labels: ProjectFile | None = Field(
        None,
        description="Names of the classes, one a line, in the order of the model's scores. Labels in data may be written so.",
        examples=["labels.txt"],
    )
    tokenizer: Tokenizer | None = Field(
        None,
        description="Makes what the model takes of texts; the build measures and the server answers in text.",
        examples=[{"path": "tokenizer.json", "max_length": 128}],
    )

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if self.labels is None and self.tokenizer is None:
            raise refuse(
                "MS319", "'processing' has no effect: it holds nothing", "write labels or tokenizer, or remove it"
            )
        return self

    def keyed(self) -> dict[str, Any]:
        """Nothing: tokenizer and labels are parts, and are keyed there."""
        return {}

    def inputs(self, request: Request) -> dict[str, str]:
        found = {slot: slot for slot in self.takes}
        if self.tokenizer is None:
            return found
        sample = request.sample
        return {**found, "artifact": "artifact", **({} if sample is None else {"sample": f"sample:{sample}"})}

    def run(self, job: Job) -> None:
        """Write all of it. Raises MS524 and MS525 where tokenizer and model do not go together, MS526 where class names do not."""
        import shutil

        from modelspec.formats import npz
        from modelspec.runtime import processing

        signature = json.loads((job.input("signature") / "signature.json").read_text())
        runtime = json.loads((job.input("runtime") / "runtime.json").read_text())
        told: dict[str, Any] = {"metrics": {}}
        files, samples = job.output("processing"), job.output("samples")
        if job.tokenizer:
            signature, said = _served(job, signature)
            shutil.copyfile(job.files.path("tokenizer"), files / processing.FILE)
            runtime[processing.KEY] = {"tokenizer": said}
            told["tokenizer"] = job.tokenizer.published()
        else:
            shutil.copytree(job.input("samples"), samples, dirs_exist_ok=True)
        if job.classes:
            told["classes"] = names = job.class_names
            named = named_outputs(npz.read(samples / "outputs.npz"), names)
            outputs = [{**each, "labels": names} if each["name"] in named else each for each in signature["outputs"]]
            signature = {**signature, "outputs": outputs}
            (files / LABELS).write_text("".join(f"{name}\n" for name in names))
        (job.output("signature") / "signature.json").write_text(json.dumps(signature, indent=2) + "\n")
        (job.output("runtime") / "runtime.json").write_text(json.dumps(runtime, indent=2, sort_keys=True) + "\n")
        (job.output("metrics") / "processing.json").write_text(json.dumps(told) + "\n")


def _served(job: Job, own: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The signature with text for tokens, and what runtime.json says of the tokenizer; samples are written too."""
    from modelspec.runtime.processing import IDS, TENSORS, TextInput

    assert job.tokenizer is not None
    tensors = {tensor["name"]: tensor for tensor in own["inputs"]}
    _require_tensors(job.tokenizer, tensors)
    opened = job.tokenizer.open(job.files.path("tokenizer"))
    text = {"name": job.tokenizer.input, "dtype": "string", "shape": tensors[IDS]["shape"][:1]}
    others = [tensor for tensor in own["inputs"] if tensor["name"] not in TENSORS]
    signature = {**own, "inputs": [text, *others]}
    said = {**job.tokenizer.published(), "inputs": own["inputs"]}
    texts = TextInput(opened, job.tokenizer.input, {name: tensor["dtype"] for name, tensor in tensors.items()})
    _require_vocabulary(tensors[IDS], opened.largest_id)
    _write_samples(job, signature, texts)
    return signature, said


def _require_tensors(tokenizer: Tokenizer, tensors: Mapping[str, Any]) -> None:
    from modelspec.runtime.processing import IDS, MASK, TENSORS

    if IDS not in tensors:
        raise _disagree(f"the model takes no {IDS!r}; its inputs are {', '.join(tensors)}",
                        f"name its inputs in the signature: {', '.join(TENSORS)}")  # fmt: skip
    if tokenizer.input in tensors:
        raise _disagree(
            f"the model has an input {tokenizer.input!r} of its own", "write another tokenizer.input", "input"
        )
    if tokenizer.padding == "longest" and MASK not in tensors:
        raise _disagree(f"the model takes no {MASK!r}, so what a text is padded to would change its answer",
                        "write padding: max_length", "padding")  # fmt: skip
    for name in TENSORS:
        shape = tensors[name]["shape"] if name in tensors else ["batch", "sequence"]
        if len(shape) != 2:
            raise _disagree(f"{name!r} has the shape {shape}, and a tokenizer gives one row for each text", "")
        fixed = isinstance(shape[1], int)
        if fixed and (tokenizer.padding != "max_length" or tokenizer.max_length != shape[1]):
            raise _disagree(f"the model takes {shape[1]} tokens, always",
                            f"write max_length: {shape[1]} and padding: max_length", "max_length")  # fmt: skip


def _require_vocabulary(ids: Mapping[str, Any], largest: int) -> None:
    limits = ids.get("range")
    if limits and largest > limits[1]:
        raise _disagree(f"the tokenizer has the token id {largest}, and {ids['name']!r} goes to {limits[1]:g}",
                        "take the tokenizer.json that belongs to the model, or correct the range")  # fmt: skip


def _disagree(message: str, fix: str, *place: str) -> Exception:
    return fail("MS525", message, help=fix, path=("tokenizer", *place))


def _write_samples(job: Job, signature: dict[str, Any], texts: "TextInput") -> None:
    """The sample inputs as texts, where the data set that was compared on has some; else a few that are answered here."""
    from modelspec.errors import ModelspecError
    from modelspec.feed import read_inputs
    from modelspec.formats import npz
    from modelspec.runtime.processing import TokenizerError

    assert job.target is not None
    served = Signature.from_lists(signature)
    session = job.target.open_session(job.input("artifact"))
    own = npz.read(job.input("samples") / "inputs.npz")
    _try_largest(session, own, texts)
    outputs = npz.read(job.input("samples") / "outputs.npz")
    if job.has("sample") and json.loads((job.input("sample") / "data.json").read_text())["text"]:
        found, _ = read_inputs(job.input("sample"), served)
        rows = len(next(iter(own.values())))
        inputs = {name: array[:rows] for name, array in found.items()}
    else:
        inputs = _made(served.inputs, own, texts.name)
        try:
            outputs = session.run(texts(inputs))
        except TokenizerError as error:
            message = f"the tokenizer cannot read plain texts: {error}"
            raise fail("MS524", message, help="take the tokenizer.json that belongs to the model", path=("tokenizer", "path")) from error  # fmt: skip
        except ModelspecError as error:
            raise _disagree(f"the model cannot run on texts: {error.diagnostics[0].message}", "") from error
    npz.write(job.output("samples") / "inputs.npz", inputs)
    npz.write(job.output("samples") / "outputs.npz", outputs)


def _try_largest(session: Any, own: "Arrays", texts: "TextInput") -> None:
    """The last token of the vocabulary has to be one that the model knows."""
    import numpy as np

    from modelspec.errors import ModelspecError
    from modelspec.runtime.processing import IDS

    largest = texts.tokenizer.largest_id
    try:
        session.run({**own, IDS: np.full_like(own[IDS], largest)})
    except ModelspecError as error:
        raise _disagree(f"the tokenizer has the token id {largest}, on which the model fails: {error.diagnostics[0].message}",
                        "take the tokenizer.json that belongs to the model") from error  # fmt: skip


def _made(served: Mapping[str, TensorSpec], own: "Arrays", text: str) -> "dict[str, NDArray[Any]]":
    """A few texts, with rows of the samples for the other inputs."""
    import numpy as np

    step = served[text].shape[0]
    count = step if isinstance(step, int) else len(TEXTS)
    others = {name: np.resize(own[name], (count, *own[name].shape[1:])) for name in served if name != text}
    return {text: np.resize(np.array(TEXTS), count), **others}
