"""`python -m benchmarks.gpu [MODEL.onnx ...]`: the GPU suite, then the latency of each model in fp32 and fp16 by CUDA events.

One call, one short table. Without a GPU it says so, and runs only what does not need one.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from modelspec import nvidia, toolchain

ROOT = Path(__file__).parents[1]
CALLS, WARMUP = 200, 30


def main() -> None:
    """Run the suite and the benchmarks; exit with the status of the suite."""
    gpu = nvidia.first()
    print(f"GPU  {gpu}, driver {gpu.driver}, CUDA {gpu.cuda}" if gpu else "GPU  none")
    suite = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:xdist", "tests/gpu"], cwd=ROOT, check=False
    )
    lacking = "no NVIDIA GPU" if gpu is None else "" if toolchain.version("onnxruntime-gpu") else "no onnxruntime-gpu"
    if lacking:
        print(f"benchmarks skipped: {lacking}")
    else:
        print(f"{'model':<24} {'fp32 ms':>9} {'fp16 ms':>9} {'ratio':>6}")
        for name in sys.argv[1:]:
            print(_row(Path(name)))
    sys.exit(suite.returncode)


def _row(model: Path) -> str:
    with tempfile.TemporaryDirectory() as folder:
        low = _in_fp16(model, Path(folder))
        full, half = _milliseconds(model), _milliseconds(low)
    return f"{model.stem:<24} {full:>9.3f} {half:>9.3f} {full / half:>6.2f}"


def _in_fp16(model: Path, folder: Path) -> Path:
    from modelspec.formats import onnx_model
    from modelspec.quantization import Mixed
    from modelspec.stages._quantize_casts import plain
    from modelspec.stages._quantize_mixed import mixed

    read = onnx_model.read(model)
    made = mixed(plain(read), Mixed(), "fp16", (), [_inputs(read)], folder)
    onnx_model.write(made.model, folder / "model.onnx")
    return folder / "model.onnx"


def _inputs(model: Any) -> Any:
    from modelspec.formats import onnx_model
    from modelspec.generate import candidates

    return next(candidates(onnx_model.signature_of(model)))


def _milliseconds(model: Path) -> float:
    """The median time of a call on the GPU, between two events; copies to and from it are not counted."""
    import numpy as np
    import onnxruntime
    from cuda.bindings import runtime

    from modelspec.formats import onnx_model

    session = onnxruntime.InferenceSession(str(model), providers=[("CUDAExecutionProvider", {"use_tf32": "0"})])
    assert session.get_providers()[0] == "CUDAExecutionProvider", "it fell back to the CPU"
    binding = session.io_binding()
    for name, array in _inputs(onnx_model.read(model)).items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", 0))
    for output in session.get_outputs():
        binding.bind_output(output.name, "cuda", 0)
    times = []
    for call in range(WARMUP + CALLS):
        began, ended = runtime.cudaEventCreate()[1], runtime.cudaEventCreate()[1]
        runtime.cudaEventRecord(began, 0)
        session.run_with_iobinding(binding)
        runtime.cudaEventRecord(ended, 0)
        runtime.cudaEventSynchronize(ended)
        if call >= WARMUP:
            times.append(runtime.cudaEventElapsedTime(began, ended)[1])
    return float(np.median(times))


if __name__ == "__main__":
    main()
