"""Calls of ONNX Runtime with inputs and outputs bound beforehand, which spares a GPU copies; and at fixed places, as a
recorded graph of CUDA needs them: it writes to the addresses that it was recorded with."""

import threading
from typing import Any

import numpy as np
import onnxruntime

from modelspec.runtime.artifact import Arrays

DEVICES = {"CUDAExecutionProvider": "cuda", "CPUExecutionProvider": "cpu"}


class Bound:
    """A session whose outputs are bound at each call; may be called from several threads at once."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]

    def run(self, inputs: Arrays) -> Arrays:
        """All outputs."""
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        for name in self._outputs:
            binding.bind_output(name)
        self._session.run_with_iobinding(binding)
        return dict(zip(self._outputs, binding.copy_outputs_to_cpu(), strict=True))


class Recorded:
    """A session whose tensors stay where they are; one call at a time. Every size must be fixed."""

    def __init__(self, session: Any, inputs: Arrays, outputs: Arrays) -> None:
        """`inputs` and `outputs`: arrays of the sizes and types that all calls have."""
        device = DEVICES[session.get_providers()[0]]
        self._session, self._binding, self._lock = session, session.io_binding(), threading.Lock()
        self._inputs = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0) for name, array in inputs.items()
        }
        self._outputs = {
            name: onnxruntime.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, device, 0)
            for name, array in outputs.items()
        }
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def run(self, inputs: Arrays) -> Arrays:
        """All outputs, copied: the next call writes over them."""
        with self._lock:
            for name, array in inputs.items():
                self._inputs[name].update_inplace(np.ascontiguousarray(array))
            self._session.run_with_iobinding(self._binding)
            return {name: np.array(value.numpy()) for name, value in self._outputs.items()}
