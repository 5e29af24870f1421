"""A model of texts small enough to be made anew for each test, its tokenizer, and texts that it tells apart."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

WORDS = ("[PAD]", "[UNK]", "a", "the", "film", "good", "great", "bad", "dull", "book", "song")
TEXTS = (
    "A good film",
    "the dull book",
    "a great great song the film",
    "bad",
    "The bad song",
    "good",
    "great book",
    "a dull film",
)
MOODS = ("fine", "poor", "fine", "poor", "poor", "fine", "fine", "poor")
NAMES = ("poor", "fine")


def write_tokenizer(path: Path, words: tuple[str, ...] = WORDS) -> None:
    """One token a word, in lower case; unknown words are one token."""
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path))


def write_model(path: Path, *, mask: bool = True, length: int | str = "sequence", vocabulary: int = len(WORDS)) -> None:
    """Scores [batch, 2]: the mean over the words of what each says of the mood."""
    moods = np.zeros((vocabulary, 2), np.float32)
    for place, word in enumerate(WORDS[:vocabulary]):
        moods[place] = [word in {"bad", "dull"}, word in {"good", "great"}]
    node = helper.make_node
    shape = ["batch", length]
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape)]
    nodes = [node("Gather", ["moods", "input_ids"], ["words"])]
    if mask:
        inputs.append(helper.make_tensor_value_info("attention_mask", TensorProto.INT32, shape))
        nodes += [
            node("Cast", ["attention_mask"], ["counts"], to=TensorProto.FLOAT),
            node("Unsqueeze", ["counts", "last"], ["column"]),
            node("Mul", ["words", "column"], ["counted"]),
        ]
    nodes += [
        node("ReduceSum", ["counted" if mask else "words", "first"], ["sum"], keepdims=0),
        node("MatMul", ["sum", "head"], ["scores"]),
    ]
    weights = {"moods": moods, "head": np.eye(2, dtype=np.float32), "first": np.array([1]), "last": np.array([2])}
    graph = helper.make_graph(
        nodes, "moods", inputs, [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def write_texts(path: Path) -> None:
    """JSON lines of a text and its mood, by name."""
    path.write_text("".join(json.dumps({"text": t, "mood": m}) + "\n" for t, m in zip(TEXTS, MOODS, strict=True)))


SPEC: dict[str, Any] = {
    "apiVersion": "modelspec/v1",
    "name": "moods",
    "version": "1.0.0",
    "source": {"framework": "onnx", "artifact": "model.onnx"},
    "processing": {"tokenizer": {"path": "tokenizer.json", "max_length": 16}, "labels": "labels.txt"},
    "data": {"test": {"path": "test.jsonl", "labels": "mood"}},
    "evaluate": {"data": "test", "metrics": ["accuracy"], "gates": [{"metric": "accuracy", "min": 1}]},
    "targets": [{"device": "cpu"}],
}


def write_project(folder: Path, **changes: Any) -> Path:
    """A whole project: model, tokenizer, class names, data, and a spec in which `changes` replace whole blocks."""
    write_model(folder / "model.onnx")
    write_tokenizer(folder / "tokenizer.json")
    write_texts(folder / "test.jsonl")
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in NAMES))
    spec = {key: value for key, value in {**SPEC, **changes}.items() if value is not None}
    (folder / "model.yaml").write_text(json.dumps(spec))
    return folder
