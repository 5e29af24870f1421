"""The same model behind BentoML, for `benchmarks/serve.py --bentoml`: runs in an environment of its own."""

import os

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(workers=1, logging={"access": {"enabled": False}})  # type: ignore[untyped-decorator,unused-ignore]
class Bench:
    """One session on one thread, as ours."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = os.environ["BENCH_MODEL"]
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name

    @bentoml.api  # type: ignore[untyped-decorator,unused-ignore]
    def infer(self, x: np.ndarray) -> np.ndarray:
        """The first output; BentoML reads the annotations, and takes none with parameters."""
        return self.session.run(None, {self.name: x.astype(np.float32)})[0]  # type: ignore[no-any-return]
