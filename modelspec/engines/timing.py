"""The timing cache of TensorRT: recorded, and replayed so that another build takes the same tactics.

The flag that makes a miss an error let misses through (TensorRT 11.0), so that what was taken is compared afterwards.
"""

from collections.abc import Mapping
from typing import Any


def begin(trt: Any, config: Any, recorded: bytes) -> Any:
    """Give the builder an empty cache to fill, or a recorded one that must hold all it asks for; returns it."""
    config.set_flag(trt.BuilderFlag.EDITABLE_TIMING_CACHE)
    config.set_flag(trt.BuilderFlag.DISABLE_COMPILATION_CACHE)
    cache = config.create_timing_cache(recorded)
    config.set_timing_cache(cache, False)
    if recorded:
        config.set_flag(trt.BuilderFlag.ERROR_ON_TIMING_CACHE_MISS)
        for key in cache.queryKeys():
            cache.update(key, cache.query(key))
    return cache


def tactics_of(cache: Any) -> dict[str, str]:
    """The tactic that was taken for each key, as hexadecimal numbers."""
    return {str(key): f"{cache.query(key).tacticHash:016x}" for key in cache.queryKeys()}


def changed(recorded: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """The keys whose tactic is not the recorded one, or that are in one of the two alone; sorted."""
    return sorted(key for key in {*recorded, *found} if recorded.get(key) != found.get(key))
