"""The calls into the Python API that TensorRT 11 and TensorRT for RTX have in common, and those of TensorRT alone.

Precision is never asked for here: both take it from the types in the graph, and the flags of older releases are gone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from modelspec.engines.record import Recipe
from modelspec.engines.timing import begin, changed, tactics_of

TYPES = {"fp16": ("Half", "FP16"), "bf16": ("BFloat16", "BF16"), "int8": ("Int8", "INT8")}
"""How the inspector spells types."""
TIMES = frozenset({"tensorrt"})
"""The modules that time tactics, on a GPU. The other has no timing cache, and its calls would ask for a GPU."""


SHOWN = 5


class RefusedError(Exception):
    """The parser or the builder does not take the model; one line for each reason."""


@dataclass
class Made:
    """An engine, and what its builder tells of it."""

    plan: bytes
    version: str
    timing: bytes = b""
    tactics: dict[str, str] | None = None
    layers: list[Any] = field(default_factory=list)


def build(recipe: Recipe, model: Path, timing: bytes = b"") -> Made:
    """Parse and build, on one thread. `timing`: the cache to take the tactics from. Raises RefusedError."""
    trt = import_module(recipe.module)
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    builder.max_threads = 1  # the fewer, the fewer are the names made up
    network = builder.create_network(0)
    _parse(trt, network, logger, model)
    config = builder.create_builder_config()
    _configure(trt, builder, config, recipe)
    cache = begin(trt, config, timing) if recipe.module in TIMES else None
    recorded = tactics_of(cache) if cache is not None and timing else None
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RefusedError("the builder made no engine; its log says why")
    made = Made(bytes(plan), str(trt.__version__))
    if cache is not None:
        made.timing, made.tactics = bytes(cache.serialize()), tactics_of(cache)
        if recorded is not None and (others := changed(recorded, made.tactics)):
            raise RefusedError(f"{len(others)} tactics are not the recorded ones: {', '.join(others[:SHOWN])}")
        made.layers = _layers(trt, logger, plan)
        require_types(made.layers, recipe.precision)
    return made


def require_types(layers: list[Any], precision: str) -> None:
    """Raise RefusedError when no layer of the finished engine computes in the precision, whatever the graph said."""
    names = TYPES.get(precision, ())
    text = json.dumps(layers)
    if names and not any(name in text for name in names):
        raise RefusedError(f"no layer of the engine computes in {precision}")


def _parse(trt: Any, network: Any, logger: Any, model: Path) -> None:
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(model)):  # by its path: weights may lie beside it
        errors = (parser.get_error(index) for index in range(parser.num_errors))
        raise RefusedError("\n".join(f"{error.node_name() or 'graph'}: {error.desc()}" for error in errors))


def _configure(trt: Any, builder: Any, config: Any, recipe: Recipe) -> None:
    if recipe.profile:
        profile = builder.create_optimization_profile()
        for name, shapes in recipe.profile.items():
            profile.set_shape(name, shapes.min, shapes.opt, shapes.max)
        config.add_optimization_profile(profile)
    if recipe.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, recipe.workspace)
    if recipe.level is not None:
        config.builder_optimization_level = recipe.level
    if recipe.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if recipe.hardware_compatible != "none":
        level = getattr(trt.HardwareCompatibilityLevel, recipe.hardware_compatible.upper())
        config.hardware_compatibility_level = level
    if recipe.module in TIMES:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else the inspector tells no types
    elif recipe.compute_capabilities:
        config.num_compute_capabilities = len(recipe.compute_capabilities)
        for index, one in enumerate(recipe.compute_capabilities):
            config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{one.replace('.', '')}"), index)


def _layers(trt: Any, logger: Any, plan: Any) -> list[Any]:
    """What the inspector tells of each layer. It takes a driver, which whoever timed tactics has."""
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise RefusedError("the engine that was built cannot be loaded again")
    inspector = engine.create_engine_inspector()
    found: Mapping[str, Any] = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    return list(found.get("Layers", ()))
