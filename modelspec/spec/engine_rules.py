"""Rules of the targets whose result is an engine: shapes that fit the signature, and options of quantization that act there."""

from collections.abc import Iterator, Mapping
from typing import Any

from modelspec.errors import Diagnostic
from modelspec.quantization import Dynamic, Static
from modelspec.spec.context import Context
from modelspec.spec.positions import Place

IDLE = ("activations", "reduce_range")
"""What a static quantization without zero points does not read: its integers are int8, of all 8 bits."""


def _shapes(context: Context) -> Iterator[Diagnostic]:
    """Where the signature is written, the shapes are compared with it."""
    inputs = {name: tensor.shape for name, tensor in context.spec.signature.inputs.items()}
    for index, target in enumerate(context.spec.targets):
        if not target.is_engine or not inputs:
            continue
        shapes: Mapping[str, Any] = getattr(target, "shapes")  # noqa: B009 - a target by its contract has no such field
        from modelspec.engines import profile

        for problem in profile.problems(inputs, {name: one.range for name, one in shapes.items()}):
            place: Place = ("targets", index, "shapes", problem.input)
            place = place if context.positions.has(place) else ("targets", index)
            yield context.problem("MS390", problem.text, place, help=problem.help)


def _methods(context: Context) -> Iterator[Diagnostic]:
    """The method of quantization, and its options, where integers have no zero points."""
    told: set[Place] = set()
    for use in context.uses:
        method, target = getattr(use.stage, "method", None), use.request.target
        if use.stage.name != "quantize" or target is None or not target.symmetric or use.origin in told:
            continue
        told.add(use.origin)
        if isinstance(method, Dynamic):
            yield context.problem(
                "MS306",
                f"the method dynamic does not lead to int8 on {target.device_name}",
                (*use.origin, "method"),
                why="an engine takes integers whose ranges are known beforehand",
                help="write method: auto, with data: a data set of inputs",
            )
        if isinstance(method, Static) and not _also_elsewhere(context, use.origin):
            for name in IDLE:
                if name in method.model_fields_set:
                    yield context.problem(
                        "MS319",
                        f"'{name}' has no effect on {target.device_name}, whose integers are int8 without zero points",
                        (*use.origin, name),
                        key=True,
                        help="remove it",
                    )


def _also_elsewhere(context: Context, origin: tuple[str | int, ...]) -> bool:
    """Whether the same options serve a target that reads them."""
    targets = (use.request.target for use in context.uses if use.stage.name == "quantize" and use.origin == origin)
    return any(target is not None and not target.symmetric for target in targets)


RULES = (_shapes, _methods)
