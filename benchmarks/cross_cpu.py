"""Whether another instruction set makes the same files: `python -m benchmarks.cross_cpu [--minilm] [--cpu CPU ...]`.

Builds digits as int8 in every way, here; then runs its stages again, on the same inputs, on a CPU that Debian's
qemu-user emulates, and compares file by file. Exits with 1 when one differs, or cannot be made there. Minutes for digits, an hour with MiniLM.

Stage by stage, because the worker server of `modelspec build` forks, which qemu-user does not survive once there are
threads; and without `convert`, because torch's exporter takes it the better part of an hour.
"""

import argparse
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from modelspec import digest
from modelspec.build import Asked, Prepared, build, prepare
from modelspec.execute import scratch
from modelspec.execute.pool import environment
from modelspec.match import Match

EXAMPLES = Path(__file__).parent.parent / "examples"
EMULATOR = "qemu-x86_64"
CPUS = ("Haswell", "Nehalem")
"""With AVX2, but not AVX-512; and with neither, nor fused multiply-add."""
STAGES = ("load", "sample", "quantize", "compile")
TIMEOUT_S = 3600
RUN = """
import sys; from pathlib import Path
from modelspec.execute.job_file import read_job
stage, job, _ = read_job(Path(sys.argv[1])); stage.run(job)
"""


def project(name: str, folder: Path) -> Path:
    """A copy of an example, with a target for each way to reach int8 that it can have; returns its model.yaml."""
    shutil.copytree(EXAMPLES / name, folder / name, ignore=shutil.ignore_patterns("dist", "__pycache__"))
    file = folder / name / "model.yaml"
    spec = yaml.safe_load(file.read_text())
    data = "calibration" if name == "digits" else "test"
    ways = {"dynamic": {"method": "dynamic"}} | {
        kind: {"method": "static", "data": data, "ranges": kind} for kind in ("minmax", "entropy", "percentile")
    }
    # Nothing is evaluated, so that MiniLM may be calibrated with the only data it has.
    for block in ("evaluate", "benchmark", "quantize"):
        spec.pop(block, None)
    spec["data"] = {data: spec["data"][data]}
    spec["targets"] = [{"device": "cpu"}] + [
        {"name": f"int8-{way}", "device": "cpu", "precision": "int8", "quantize": options}
        for way, options in ways.items()
    ]
    file.write_text(yaml.safe_dump(spec, sort_keys=False))
    return file


def differences(prepared: Prepared, match: Match, cpu: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Each file of an action, and how it differs where the other CPU made it; empty where it does not."""
    records = {id_: found.record for id_, found in prepared.matches.items() if found.record is not None}
    root = scratch.prepare(match, records, prepared.store)
    command = [EMULATOR, "-cpu", cpu, sys.executable, "-c", RUN, str(root)]
    done = subprocess.run(
        command, check=False, env=environment(folder), capture_output=True, text=True, timeout=TIMEOUT_S
    )
    if done.returncode:
        yield "-", f"fails: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
        return
    for output in records[match.action.id].outputs:
        made, original = root / "out" / output.path, folder / "original"
        if digest.of_file(made) == output.sha256:
            yield output.path, ""
        else:
            prepared.store.take(output.sha256, original)
            yield output.path, _described(original, made)
            original.unlink()


def _described(one: Path, other: Path) -> str:
    if other.suffix != ".onnx":
        return "different"
    first, second = _weights(one), _weights(other)
    if first.keys() != second.keys():
        return "another graph"
    changed = [name for name in first if first[name].tobytes() != second[name].tobytes()]
    largest = max((_relative(first[name], second[name]) for name in changed), default=0.0)
    return f"{len(changed)} of {len(first)} weights and scales differ, by up to {largest:.1e} of their largest value"


def _weights(path: Path) -> Mapping[str, Any]:
    import onnx

    from modelspec.formats import onnx_model

    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx_model.read(path).graph.initializer}


def _relative(one: Any, other: Any) -> float:
    import numpy as np

    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if one.shape != other.shape:
        return float("inf")
    return float(np.abs(one - other).max() / max(np.abs(one).max(), np.finfo(np.float32).tiny))


def compare(name: str, cpus: list[str]) -> int:
    """Build an example here, run its stages on each CPU, print a line for each file; returns how many differ."""
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        asked = Asked(file=project(name, Path(folder)), cache=Path(folder, "cache"), until="compile")
        build(asked, lambda _: None, lambda _: None)
        prepared = prepare(asked)
        wanted = [match for match in prepared.matches.values() if match.action.stage.name in STAGES]
        for cpu in cpus:
            for match in (match for match in wanted if match.action.id in prepared.plan.actions):
                for path, how in differences(prepared, match, cpu, Path(folder)):
                    print(f"{name}  {cpu:<8}  {match.action.label:<28} {path:<26} {how or 'same'}", flush=True)
                    different += bool(how)
        prepared.store.close_session()
    return different


def main() -> int:
    """Check that it can be done, do it, say how it ended."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cross_cpu", description=__doc__)
    parser.add_argument("--minilm", action="store_true", help="the sentence encoder too")
    parser.add_argument("--cpu", action="append", help=f"a CPU that qemu knows; given: {', '.join(CPUS)}")
    options = parser.parse_args()
    if platform.machine() != "x86_64":
        raise SystemExit(f"this compares x86-64 CPUs, and the machine is {platform.machine()}")
    if shutil.which(EMULATOR) is None:
        raise SystemExit(f"{EMULATOR} is missing. On Debian and Ubuntu: apt-get install qemu-user")
    names = ["digits", "minilm"] if options.minilm else ["digits"]
    different = sum(compare(name, options.cpu or list(CPUS)) for name in names)
    print("every file is the same" if not different else f"{different} differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
