"""The loaded model: ONNX Runtime as runtime.json says, and the proof that it answers as it did when it was built."""

import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from modelspec.runtime import processing
from modelspec.runtime.artifact import Arrays, Artifact
from modelspec.runtime.binding import Bound, Recorded
from modelspec.runtime.errors import ENVIRONMENT, INTEGRITY, STAGE, USAGE, RequestError, ServeError
from modelspec.runtime.processing import TextInput, TokenizerError
from modelspec.runtime.unpack import opened

_OPTIONS = {
    "graph_optimization_level", "intra_op_num_threads", "inter_op_num_threads",
    "enable_cpu_mem_arena", "enable_mem_pattern", "allow_spinning", "disable_cpu_ep_fallback",
}  # fmt: skip
_LEVELS = {
    "off": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_FAILURES = (RuntimeError, ValueError)
"""What ONNX Runtime raises: its own kinds all derive from these."""


class Model:
    """Answers by name; may be called from several threads at once."""

    def __init__(self, artifact: Artifact, threads: int = 0) -> None:
        self.artifact = artifact
        options, self.threads = _options(artifact.session, threads)
        try:
            with opened(artifact.model, artifact.packed) as path:
                self._session = _opened(str(path), options, artifact)
        except _kinds() as error:
            raise ServeError(f"ONNX Runtime refuses {artifact.model.name}: {_line(error)}", STAGE) from error
        here = {tensor.name for tensor in self._session.get_inputs()}, {t.name for t in self._session.get_outputs()}
        if here != (artifact.own_inputs, set(artifact.outputs)):
            raise ServeError("the model and signature.json do not have the same inputs and outputs", INTEGRITY)
        self._outputs = list(artifact.outputs)
        self._bound = _bound(self._session, artifact)
        self._texts = _text_input(artifact)

    def run(self, inputs: Arrays) -> Arrays:
        """All outputs. Raises RequestError when the model does not take inputs that its signature allows."""
        if self._texts:
            inputs = _tokens(self._texts, inputs)
        try:
            if self._bound is not None:
                return self._bound.run(inputs)
            return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))
        except _kinds() as error:
            raise FailedError(_line(error)) from error

    def check_golden(self) -> None:
        """Raises ServeError unless the golden inputs give the golden outputs."""
        artifact = self.artifact
        self._check(artifact.golden_inputs, artifact.golden_outputs, "the golden output {} is not what was recorded")

    def check_joined(self) -> None:
        """Raises ServeError unless requests can be joined: two at once must answer as each does alone."""
        artifact = self.artifact
        if artifact.batch_axis() is None:
            raise ServeError("requests cannot be joined: the tensors have no named first axis in common", USAGE)
        self._check(
            _twice(artifact.golden_inputs),
            _twice(artifact.golden_outputs),
            "requests cannot be joined: together they give another {}",
        )

    def elements_within(self, seconds: float) -> int:
        """How many elements of input the model runs in that time, by its golden inputs; 0 when it takes longer."""
        if self._texts:
            return 0  # how long a text takes is not seen by the number of texts
        inputs, times = self.artifact.golden_inputs, []
        for _ in range(9):
            began = time.perf_counter()
            self.run(inputs)
            times.append(time.perf_counter() - began)
        size = sum(array.size for array in inputs.values())
        return size if statistics.median(times) <= seconds else 0

    def _check(self, inputs: Arrays, outputs: Arrays, what: str) -> None:
        found = self.run(inputs)
        for name, expected in outputs.items():
            if difference := _difference(found.get(name), expected, self.artifact):
                raise ServeError(f"{what.format(repr(name))}: {difference}", INTEGRITY)


def _opened(path: str, options: Any, artifact: Artifact) -> Any:
    """The session. Raises ServeError when the runtime fell back to another provider, which it does without an error."""
    wanted = list(artifact.providers)
    if missing := [name for name in wanted if name not in onnxruntime.get_available_providers()]:
        raise ServeError(f"this ONNX Runtime has no {missing[0]}; it would fall back to the CPU", ENVIRONMENT)
    try:
        session = onnxruntime.InferenceSession(
            path, options, providers=wanted, provider_options=list(artifact.provider_options)
        )
    except _kinds() as error:
        if "fallback to CPU EP has been explicitly disabled" in str(error):
            raise ServeError(f"ONNX Runtime cannot use {wanted[0]} for the whole model here", ENVIRONMENT) from error
        raise
    used = session.get_providers()  # that a provider is there does not say that it could be loaded
    if used[: len(wanted)] != wanted:
        raise ServeError(f"ONNX Runtime does not use {wanted[0]}, and fell back to {', '.join(used)}", ENVIRONMENT)
    return session


def _bound(session: Any, artifact: Artifact) -> Bound | Recorded | None:
    if not artifact.io_binding or any(
        t.dtype == "string" for t in (*artifact.inputs.values(), *artifact.outputs.values())
    ):
        return None
    if any(settings.get("enable_cuda_graph") == "1" for settings in artifact.provider_options):
        return Recorded(session, artifact.golden_inputs, artifact.golden_outputs)
    return Bound(session)


def _text_input(artifact: Artifact) -> TextInput | None:
    if not artifact.tokenizer:
        return None
    try:
        return TextInput.of(artifact.tokenizer, processing.read(artifact.model.parent / processing.FILE))
    except ImportError as error:
        raise ServeError(f"the model takes text, which needs tokenizers: pip install tokenizers ({error})", ENVIRONMENT) from error  # fmt: skip
    except (TokenizerError, OSError, ValueError, KeyError, TypeError) as error:
        raise ServeError(f"{processing.FILE} cannot be used: {error}", INTEGRITY) from error


def _tokens(texts: TextInput, inputs: Arrays) -> Arrays:
    try:
        return texts(inputs)
    except TokenizerError as error:
        raise RequestError(400, f"input {texts.name!r}: {error}") from None


def _twice(arrays: Arrays) -> Arrays:
    return {name: np.concatenate([array, array]) for name, array in arrays.items()}


class FailedError(RequestError):
    """The model failed on an input that passed all checks; `reason` is for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(400, "the model cannot run on these inputs, though their types and shapes are right")
        self.reason = reason


def parallel(threads: int, asked: int) -> int:
    """How many runs at one time fill the cores."""
    return asked or max(1, cores() // max(1, threads))


def cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The cores that this process may use. In a pod `quota` says how much of a large machine that is; of control groups
    of version 2, https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
    """
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        share, period = map(int, quota.read_text().split())
    except (OSError, ValueError):  # there is none, or it is "max"
        return found
    return max(1, min(found, -(-share // period)))


def _options(said: dict[str, Any], threads: int) -> tuple[Any, int]:
    if unknown := set(said) - _OPTIONS:
        raise ServeError(
            f"runtime.json has the session option {min(unknown)!r}, which this server does not know", USAGE
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    count = threads or int(said.get("intra_op_num_threads", 1))
    options.intra_op_num_threads = count
    options.inter_op_num_threads = int(said.get("inter_op_num_threads", 1))
    options.enable_cpu_mem_arena = bool(said.get("enable_cpu_mem_arena", True))
    options.enable_mem_pattern = bool(said.get("enable_mem_pattern", True))
    level = _LEVELS[said.get("graph_optimization_level", "all")]
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    if said.get("disable_cpu_ep_fallback", False):
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    # Spinning threads hold cores that other requests need.
    spinning = "1" if said.get("allow_spinning", False) else "0"
    for pool in ("intra_op", "inter_op"):
        options.add_session_config_entry(f"session.{pool}.allow_spinning", spinning)
    return options, count


def _kinds() -> tuple[type[BaseException], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    own = (getattr(states, name, None) for name in ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented", "RuntimeException", "EPFail"))  # fmt: skip
    return (*(kind for kind in own if kind), *_FAILURES)


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]


def _difference(found: Any, expected: Any, artifact: Artifact) -> str:
    if found is None:
        return "the model has no such output"
    found = np.asarray(found)
    if found.shape != expected.shape:
        return f"the shape {found.shape} and not {expected.shape}"
    if expected.dtype.kind not in "fiu":
        return "" if np.array_equal(found.astype(expected.dtype), expected) else "another value"
    if np.allclose(found, expected, rtol=artifact.rtol, atol=artifact.atol, equal_nan=True):
        return ""
    far = np.nanmax(np.abs(found.astype(np.float64) - expected.astype(np.float64)))
    return f"it differs by up to {far:.3g} (rtol {artifact.rtol:g}, atol {artifact.atol:g})"
