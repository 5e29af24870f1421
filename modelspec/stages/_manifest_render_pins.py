"""What one pod asks for, by what the benchmark measured: pinned in model.lock, and so the same on any machine."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from modelspec.errors import fail
from modelspec.lookup import Found, Pin
from modelspec.manifests.facts import ServerFacts
from modelspec.manifests.options import EFFECT, Manifests, Resources
from modelspec.stage import Request

_STAGE = "benchmark"
_HEADROOM = 1.5
_REQUESTS = 16
"""Of the largest size, at one time."""
_STEP = 64 << 20
_VALUE = "request"


@dataclass(frozen=True)
class ResourcePin(Pin):
    """An amount of one resource."""

    resource: str
    threads: int | None
    """Of one run, where the server is told."""
    parallel: int
    body: int
    """Bytes of one request, at most."""

    @property
    def name(self) -> str:
        return f"{self.resource} of a pod of {self.target}"

    def answer(self, figures: Mapping[str, Any]) -> Found:
        """Processors for the threads of all runs at one time; memory for as many runs and half as much again, and for
        requests that are read and wait.
        """
        peak = figures.get("metrics", {}).get("peak_memory")
        if peak is None:  # nothing was measured: its device is not here
            return {}
        if self.resource == "cpu":
            return {_VALUE: str((self.threads or figures["threads"]) * self.parallel)}
        run = max(0, peak - figures["memory_before_load"])
        needed = _HEADROOM * (peak + (self.parallel - 1) * run) + _REQUESTS * self.body
        return {_VALUE: f"{math.ceil(needed / _STEP) * _STEP >> 20}MiB"}


def pins(block: Manifests | None, request: Request) -> tuple[ResourcePin, ...]:
    """One for each resource that is not written, where a benchmark measures it and a format says it."""
    if block is None or request.target is None or _STAGE not in request.blocks:
        return ()
    if not set(EFFECT["resources"]) & set(block.formats):
        return ()
    server = server_facts(request)
    threads, parallel = server.settings.get("threads"), server.settings.get("parallel", 1)
    missing = [name for name in Resources.model_fields if name not in block.resources.model_fields_set]
    label, body = request.target.label, server.body
    return tuple(ResourcePin(_STAGE, label, name, threads, parallel, body) for name in missing)


def server_facts(request: Request) -> ServerFacts:
    """As much of the server as the spec says."""
    serve = request.blocks.get("serve")
    return ServerFacts({"serve": serve.settings() if serve else {}})


def pinned(asked: tuple[ResourcePin, ...], request: Request) -> dict[str, str]:
    """What model.lock has of them, by resource. Raises MS366 for what is no amount."""
    known = [(pin, request.found[pin.name].get(_VALUE, "")) for pin in asked if pin.name in request.found]
    for pin, value in known:
        try:
            Resources.model_validate({pin.resource: value})
        except ValidationError as error:
            raise fail("MS366", f"model.lock pins {value!r} as the {pin.name}", help="remove the line; modelspec build --update benchmark pins it anew") from error  # fmt: skip
    return {pin.resource: value for pin, value in known}


def completed(block: Manifests, amounts: Mapping[str, str]) -> Manifests:
    """The block with these resources."""
    given = Resources.model_validate({**block.resources.model_dump(mode="json"), **amounts})
    return block.model_copy(update={"resources": given})
