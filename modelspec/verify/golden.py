"""Each published artifact on its golden inputs: the answers must be the recorded ones."""

from dataclasses import dataclass
from math import isfinite

from pydantic import BaseModel, ConfigDict

from modelspec import toolchain
from modelspec.checks.replay import Replay
from modelspec.errors import Diagnostic, Exit, ModelspecError
from modelspec.execute.alone import Workers
from modelspec.meaning.verdict import Verdict
from modelspec.resolve import missing_packages
from modelspec.tokenizer import EXTRA
from modelspec.verify.published import Published
from modelspec.verify.record import BuildSaid, ParitySaid, read_needs, read_target, takes_text


class _Output(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    exact: bool
    mismatched: int
    total: int
    max_abs: float


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True)

    unmatched: tuple[str, ...]
    outputs: tuple[_Output, ...]


@dataclass(frozen=True)
class Replayed:
    """How a target answered. `promised` is what the machine and the tools let one expect."""

    target: str
    verdict: Verdict
    promised: Verdict
    max_abs: float | None
    """The largest difference; None where there is no number to tell."""
    lacks: tuple[str, ...] = ()
    """CPU features of which the model needs one, and this machine has none."""


def promised(build: BuildSaid, tools: tuple[str, ...]) -> tuple[Verdict, tuple[str, ...]]:
    """The same bits where the instruction set and the tools are those of the build; what differs otherwise."""
    others = (*build.other_machine(), *build.other_tools(tools))
    return (Verdict.WITHIN if others else Verdict.EXACT), others


def replay(published: Published, label: str, workers: Workers) -> tuple[Replayed, list[Diagnostic]]:
    """Run one target. MS605 where it does not answer as recorded, or not at all."""
    folder, parity = published.folder, published.parity(label)
    target = read_target(folder, label).model_copy(update={"name": label})
    library = ("tokenizers",) if takes_text(folder, label) else ()
    if missing := missing_packages({"onnx": target.packages, EXTRA: library}):
        raise ModelspecError(missing)
    expected, others = promised(published.build, (*target.packages, *library))
    needs = read_needs(folder, label)
    lacks = needs if needs and toolchain.lacks(toolchain.fact("isa"), needs) else ()
    others = (*others, f"a CPU without {' or '.join(lacks)}, which this model needs") if lacks else others
    inputs = {path.removeprefix(f"{label}/"): folder / path for path in published.files.of_target(label)}
    try:
        check = Replay(rtol=parity.rtol, atol=parity.atol)
        report = _Report.model_validate_json(workers.run(check, target, {"artifact": inputs}))
    except ModelspecError as error:
        if error.exit is not Exit.STAGE:
            raise  # the environment lacks something, or the files are unsafe
        text = f"{label} cannot be run on its golden inputs: {error.diagnostics[0].message}"
        return Replayed(label, Verdict.DIFFERENT, expected, None, lacks), [_problem(text, others)]
    problems = [_problem(f"{label} and its golden files do not have the same outputs: {name}", others) for name in report.unmatched]  # fmt: skip
    wrong = (o for o in report.outputs if not o.exact and (expected is Verdict.EXACT or o.mismatched))
    problems += [_problem(_text(label, output, parity, expected), others) for output in wrong]
    largest = max((output.max_abs for output in report.outputs), default=0.0)
    return Replayed(label, _verdict(report), expected, largest if isfinite(largest) else None, lacks), problems


def _verdict(report: _Report) -> Verdict:
    if report.unmatched or any(output.mismatched for output in report.outputs):
        return Verdict.DIFFERENT
    return Verdict.EXACT if all(output.exact for output in report.outputs) else Verdict.WITHIN


def _text(label: str, output: _Output, parity: ParitySaid, expected: Verdict) -> str:
    much = f"by up to {output.max_abs:.3g}"
    if expected is Verdict.EXACT:
        bound = "on the instruction set and with the tools of its build, where they should be the same bits"
        return f"the golden output {output.name!r} of {label} differs {much} {bound}"
    bound = f"(rtol {parity.rtol:g}, atol {parity.atol:g})"
    return f"{output.mismatched} of {output.total} values of the golden output {output.name!r} of {label} differ, {much} {bound}"


def _problem(text: str, others: tuple[str, ...]) -> Diagnostic:
    why = f"here it is another environment: {', '.join(others)}" if others else ""
    return Diagnostic(
        "MS605", text, why=why, help="do not ship it: remove the folder, build again, and see what changed"
    )
