"""ONNX Runtime sessions, always set up the same way: one thread, no spinning, on the CPU, as named."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modelspec.errors import fail

if TYPE_CHECKING:
    from numpy.typing import NDArray

Level = Literal["off", "basic", "extended", "all"]


class OnnxSession:
    """A loaded ONNX file that answers by name."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.outputs: tuple[str, ...] = tuple(output.name for output in session.get_outputs())

    def run(self, inputs: "Mapping[str, NDArray[Any]]") -> "dict[str, NDArray[Any]]":
        """All outputs by name. Raises MS513 when the runtime refuses the inputs."""
        return dict(zip(self.outputs, guarded(lambda: self._session.run(None, dict(inputs))), strict=True))


def guarded(call: Any) -> Any:
    """Call into ONNX Runtime; its refusals become MS513 with their first line."""
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    kinds = tuple(kind for name in _REFUSALS if (kind := getattr(states, name, None)))
    try:
        return call()
    except (*kinds, RuntimeError, ValueError) as error:
        reason = _reason(error)
        newer = "the runtime lacks it at this opset: export the model again with a newer one"
        usual = "see the log; the runtime must take the model by itself, before anything is done to it"
        fix = newer if "Could not find an implementation" in reason else usual
        raise fail("MS513", f"ONNX Runtime refuses the model: {reason}", help=fix) from error


def _reason(error: Exception) -> str:
    """The first line of a refusal, without its status, the source file it comes from, and the path of the model."""
    import re

    line = (str(error).strip().splitlines() or ["no reason given"])[0]
    line = re.sub(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", "", line)
    line = re.sub(r"Load model from \S+ failed:\s*", "", line)
    line = re.sub(r"/\S+\.(cc|h|cpp|hpp):\d+ (\S+ )*?(?=[A-Z])", "", line)
    return line.strip() or "no reason given"


_REFUSALS = (
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "NoSuchFile",
    "NotImplemented",
    "RuntimeException",
    "EPFail",
)


CPU = "CPUExecutionProvider"
_EXTERNAL = "session.optimized_model_external_initializers_file_name"


def open_session(
    model: Path | bytes, *, optimize: Level = "off", threads: int = 1, save_to: Path | None = None,
    provider: tuple[str, Mapping[str, str]] = (CPU, {}),
) -> OnnxSession:  # fmt: skip
    """Load an ONNX file, or the bytes of one; `save_to` also writes the optimized graph.

    Raises MS513 when the runtime refuses it, MS422 when it takes another provider than that named.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning threads hold the cores that torch needs next; toolchain measurements show twice the time for it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = {
        "off": levels.ORT_DISABLE_ALL,
        "basic": levels.ORT_ENABLE_BASIC,
        "extended": levels.ORT_ENABLE_EXTENDED,
        "all": levels.ORT_ENABLE_ALL,
    }[optimize]
    if save_to is not None:
        options.optimized_model_filepath = str(save_to)
        if isinstance(model, Path) and any(path.suffix == ".data" for path in model.parent.iterdir()):
            # What did not fit into one file does not after optimization either.
            options.add_session_config_entry(_EXTERNAL, f"{save_to.name}.data")
    source = model if isinstance(model, bytes) else str(model)
    name, settings = provider
    opened = guarded(lambda: _opened(source, options, name, settings))
    if opened.get_providers()[0] != name:
        raise fail(
            "MS422",
            f"ONNX Runtime does not use {name}, and fell back to {opened.get_providers()[0]}",
            help="install the libraries of CUDA that it needs: pip install 'onnxruntime-gpu[cuda,cudnn]'",
        )
    return OnnxSession(opened)


def _opened(source: str | bytes, options: Any, provider: str, settings: Mapping[str, str]) -> Any:
    import warnings

    import onnxruntime

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a provider that it lacks the library only warns; here it is an error
        return onnxruntime.InferenceSession(source, options, providers=[(provider, dict(settings))])
