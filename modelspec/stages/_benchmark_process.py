"""The measuring process: reads an order on stdin, writes the figures on stdout. Fresh, so that its memory is the model's."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelspec import registry
from modelspec.target import Session
from modelspec.tokenizer import in_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]


def main() -> None:
    """Measure what the order asks for."""
    import numpy as np

    order = json.load(sys.stdin)
    target = registry.targets()[order["device"]].model_validate_json(json.dumps(order["target"]))
    inputs = _inputs(order)
    before = _peak_memory()
    session = target.open_session(Path(order["artifact"]), threads=order["threads"])
    if order["tokenizer"]:
        session = in_text(session, Path(order["runtime"]), Path(order["tokenizer"]))
    for _ in range(order["warmup"]):
        session.run(inputs)
    times = np.array(_measured(session, inputs, order["repeats"], order["seconds"]))
    rows = min((len(array) for array in inputs.values() if array.ndim), default=1)
    p50, p95, p99 = (float(np.percentile(times, share)) for share in (50, 95, 99))
    metrics = {
        "latency_p50": p50,
        "latency_p95": p95,
        "latency_p99": p99,
        "throughput": rows * len(times) / float(times.sum()),
        "peak_memory": _peak_memory(),
    }
    value = {"metrics": metrics, "calls": len(times), "batch": rows, "threads": order["threads"],
             "latency_min": float(times.min()), "latency_max": float(times.max()), "memory_before_load": before}  # fmt: skip
    json.dump(value, sys.stdout, indent=2)


def _measured(session: Session, inputs: "Arrays", repeats: int, seconds: float) -> list[float]:
    """Seconds of each call, until there are `repeats` or the time is up; at least ten."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 10 or (len(times) < repeats and time.perf_counter() < end):
        began = time.perf_counter()
        session.run(inputs)
        times.append(time.perf_counter() - began)
    return times


def _inputs(order: dict[str, Any]) -> "Arrays":
    """The sample inputs, repeated or cut to the batch along the first axis where that is dynamic."""
    import numpy as np

    from modelspec.formats import npz

    tensors = json.loads(Path(order["signature"]).read_text())["inputs"]
    dynamic = {t["name"] for t in tensors if t["shape"] and isinstance(t["shape"][0], str)}
    batch = order["batch"]
    return {
        name: np.resize(array, (batch, *array.shape[1:])) if name in dynamic and len(array) else array
        for name, array in npz.read(Path(order["samples"])).items()
    }


def _peak_memory() -> int:
    """Bytes. What getrusage(2) says counts the process that started this one as well, where that held more."""
    status = Path("/proc/self/status").read_text().splitlines()
    own = (int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    return next(own, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024


if __name__ == "__main__":
    main()
