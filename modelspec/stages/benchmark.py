"""Measures latency, throughput and memory of the built model on this machine, in a process of its own."""

import json
import os
import sys
from typing import ClassVar

from pydantic import Field

from modelspec.errors import fail
from modelspec.stage import Determinism, Job, Request, Stage, measured

DEADLINE_S = 600.0


class Benchmark(Stage):
    """artifact + samples -> figures that are true of this machine only."""

    name: ClassVar[str] = "benchmark"
    summary: ClassVar[str] = "measure latency, throughput and memory on this machine"
    revision: ClassVar[int] = 2
    after: ClassVar[tuple[str, ...]] = ("evaluate",)
    takes: ClassVar[tuple[str, ...]] = ("artifact", "samples", "signature")
    gives: ClassVar[tuple[str, ...]] = ("metrics",)
    parts: ClassVar[tuple[str, ...]] = ("target", "tokenizer")
    packages: ClassVar[tuple[str, ...]] = ("numpy",)
    facts: ClassVar[tuple[str, ...]] = ("arch", "isa", "cpu", "cores", "machine")
    determinism: ClassVar[Determinism] = Determinism.MEASURED
    exclusive: ClassVar[bool] = True

    batch: int = Field(1, ge=1, description="Samples in one call.", examples=[1])
    threads: int = Field(1, ge=1, description="Threads of the runtime.", examples=[1])
    warmup: int = Field(10, ge=0, description="Calls before the first that counts.", examples=[10])
    repeats: int = Field(200, ge=10, description="Calls that count, at most.", examples=[200])
    seconds: float = Field(5.0, gt=0, le=300, description="Time after which no further call is made.", examples=[5.0])

    def inputs(self, request: Request) -> dict[str, str]:
        return measured({slot: slot for slot in self.takes} | request.served, request)

    def _require_effect(self, job: Job) -> None:
        from modelspec.feed import batch_size
        from modelspec.signature import Signature

        signature = Signature.read(job.input("signature"))
        fixed = batch_size(signature, self.batch)
        if self.batch not in (1, fixed):
            raise fail(
                "MS507",
                f"the model takes {fixed} samples at once, always, and not {self.batch}",
                help="remove benchmark.batch, or export the model with a dynamic first axis",
                path=("batch",),
            )

    def run(self, job: Job) -> None:
        """Write p50, p95 and p99 in seconds, samples per second, and peak memory in bytes."""
        import subprocess

        target = job.target
        assert target is not None
        self._require_effect(job)
        if target.stands_in():  # what the CPU takes for it says nothing of the device
            job.warn("MS564", f"{target.label}: nothing is timed without its device", help="build where it is")
            (job.output("metrics") / "benchmark.json").write_text('{"metrics": {}}\n')
            return
        order = {
            "device": target.device_name,
            "target": target.model_dump(mode="json"),
            "artifact": str(job.measured),
            "samples": str(job.input("samples") / "inputs.npz"),
            "runtime": str(job.input("runtime") / "runtime.json") if job.tokenizer else None,
            "tokenizer": str(job.files.path("tokenizer")) if job.tokenizer else None,
            "signature": str(job.input("signature") / "signature.json"),
            **self.model_dump(mode="json"),
        }
        command = [sys.executable, "-P", "-m", "modelspec.stages._benchmark_process"]
        try:
            done = subprocess.run(  # noqa: S603 - our own module; the order goes through a pipe
                command, input=json.dumps(order), capture_output=True, text=True, timeout=DEADLINE_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise fail(
                "MS520", f"the benchmark took more than {DEADLINE_S:.0f} s", help="use a smaller batch"
            ) from error
        sys.stderr.write(done.stderr)
        if done.returncode < 0:
            # What ended the child ends this process too: whoever watches it can tell a crash from a lack of memory.
            os.kill(os.getpid(), -done.returncode)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise fail("MS521", f"the benchmark failed: {reason}", help="see its log")
        (job.output("metrics") / "benchmark.json").write_text(done.stdout)
