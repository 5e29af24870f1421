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
        kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}
        self.kinds = {each.name: kinds[each.type] for each in self.session.get_inputs()}

    @bentoml.api  # type: ignore[untyped-decorator,unused-ignore]
    def infer(self, inputs: dict[str, list]) -> np.ndarray:  # type: ignore[type-arg]
        """The first output. An annotation for each input would name them, and the service is for any model."""
        arrays = {name: np.asarray(inputs[name], kind) for name, kind in self.kinds.items()}
        return self.session.run(None, arrays)[0]  # type: ignore[no-any-return]
