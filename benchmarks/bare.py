"""The bare script that a build is measured against: the same library calls, once each, and nothing around them.

python benchmarks/bare.py <project folder> <digits|minilm> <dynamo|torchscript> <output folder>
"""

import importlib
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROWS = 32


def load(project: Path, name: str) -> tuple[torch.nn.Module, dict[str, "np.ndarray[Any, Any]"]]:
    """The model with its weights, and the inputs on which the two are compared."""
    sys.path.insert(0, str(project))
    build = importlib.import_module("model").build
    if name == "digits":
        from safetensors.torch import load_file

        model: torch.nn.Module = build(width=16)
        model.load_state_dict(load_file(project / "weights.safetensors"))
        return model.eval(), dict(np.load(project / "data/calibration.npz"))
    random = np.random.default_rng(0)
    ids = random.integers(0, 30522, (ROWS, 16), dtype=np.int64)
    return build(), {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def export(model: torch.nn.Module, inputs: dict[str, "np.ndarray[Any, Any]"], exporter: str, path: Path) -> None:
    """To ONNX, with the batch (and the sequence) of any length."""
    names = {"input_ids": ("batch", "sequence"), "attention_mask": ("batch", "sequence"), "image": ("batch",)}
    output = "logits" if "image" in inputs else "sentence_embedding"
    arguments = tuple(torch.from_numpy(array[:2]) for array in inputs.values())
    axes = {name: dict(enumerate(names[name])) for name in inputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "torchscript":
            torch.onnx.export(
                model, arguments, str(path), dynamo=False, opset_version=17,
                input_names=list(inputs), output_names=[output], dynamic_axes={**axes, output: {0: "batch"}},
            )  # fmt: skip
            return
        dimensions = {name: torch.export.Dim(name) for name in ("batch", "sequence")}
        shapes = tuple({axis: dimensions[dim] for axis, dim in axes[name].items()} for name in inputs)
        program = torch.onnx.export(
            model, arguments, dynamo=True, opset_version=20, dynamic_shapes=shapes, external_data=False,
            input_names=list(inputs), output_names=[output], verbose=False,
        )  # fmt: skip
        assert program is not None
        path.write_bytes(program.model_proto.SerializeToString(deterministic=True))


def session(path: Path) -> Any:
    """An ONNX Runtime session on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def quantize(name: str, inputs: dict[str, "np.ndarray[Any, Any]"], float_model: Path, path: Path) -> None:
    """Static for the convolutions, dynamic for the transformer."""
    from onnxruntime import quantization

    if name == "minilm":
        quantization.quantize_dynamic(float_model, path, per_channel=True)
        return

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        """One batch after the other."""

        def __init__(self) -> None:
            self.batches = iter([{k: v[at : at + 32] for k, v in inputs.items()} for at in range(0, 256, 32)])

        def get_next(self) -> dict[str, "np.ndarray[Any, Any]"] | None:
            return next(self.batches, None)

    quantization.quantize_static(
        float_model, path, Reader(), per_channel=True,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip


def main(project: Path, name: str, exporter: str, folder: Path) -> None:
    """Load, export, check, compare, quantize, run."""
    import onnx

    model, inputs = load(project, name)
    sample = {key: array[:ROWS] for key, array in inputs.items()}
    float_model, int8_model = folder / "model.onnx", folder / "model-int8.onnx"
    export(model, inputs, exporter, float_model)
    onnx.checker.check_model(onnx.load(float_model))
    with torch.no_grad():
        expected = model(*(torch.from_numpy(array) for array in sample.values())).numpy()
    np.testing.assert_allclose(session(float_model).run(None, sample)[0], expected, rtol=1e-3, atol=1e-4)
    quantize(name, inputs, float_model, int8_model)
    session(int8_model).run(None, sample)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
