"""What a tokenizer makes of texts, and what a hostile file or text makes of a server: a refusal, never a traceback."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelspec.runtime.processing import Settings, TextInput, Tokenizer, TokenizerError
from tests import texts


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    texts.write_tokenizer(tmp_path / "tokenizer.json")
    return (tmp_path / "tokenizer.json").read_bytes()


def changed(data: bytes, **keys: Any) -> bytes:
    return json.dumps({**json.loads(data), **keys}).encode()


def test_texts_are_cut_and_filled_up_to_the_longest(data: bytes) -> None:
    found = Tokenizer(data, Settings(3)).encode(["a good film the", "Bad", ""])
    assert found["input_ids"].tolist() == [[2, 5, 4], [7, 0, 0], [0, 0, 0]]
    assert found["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert found["token_type_ids"].tolist() == [[0] * 3] * 3
    assert Tokenizer(data, Settings(3)).encode(["", ""])["input_ids"].tolist() == [[0], [0]]


def test_what_the_file_says_of_cutting_and_filling_does_not_count(data: bytes) -> None:
    own = {
        "truncation": {"max_length": 1, "strategy": "LongestFirst", "stride": 0, "direction": "Left"},
        "padding": {"strategy": {"Fixed": 9}, "direction": "Left", "pad_to_multiple_of": 8, "pad_id": 3, "pad_type_id": 0, "pad_token": "the"},
    }  # fmt: skip
    found = Tokenizer(changed(data, **own), Settings(3)).encode(["a good film song", "bad"])
    assert found["input_ids"].tolist() == [[5, 4, 10], [3, 3, 7]], "but for its sides and its token"
    assert Tokenizer(data, Settings(4, "max_length", "the")).encode(["bad"])["input_ids"].tolist() == [[7, 3, 3, 3]]


def test_a_row_does_not_depend_on_its_company(data: bytes) -> None:
    tokenizer = Tokenizer(data, Settings(8))
    together = tokenizer.encode(list(texts.TEXTS))
    for row, text in enumerate(texts.TEXTS):
        alone = tokenizer.encode([text])
        width = alone["input_ids"].shape[1]
        assert together["input_ids"][row, :width].tolist() == alone["input_ids"][0].tolist()
        assert not together["attention_mask"][row, width:].any()


def test_the_model_gets_its_own_types_and_the_other_inputs(data: bytes) -> None:
    read = TextInput(Tokenizer(data, Settings(8)), "text", {"input_ids": "int32", "more": "float32"})
    found = read({"text": np.array(["bad"], dtype=object), "more": np.ones(1, np.float32)})
    assert {name: array.dtype.name for name, array in found.items()} == {"more": "float32", "input_ids": "int32"}


@pytest.mark.parametrize(
    ("file", "settings", "said"),
    [
        (b"", Settings(8), "no tokenizer.json"),
        (b"[" * 100_000, Settings(8), "no tokenizer.json"),
        (b"\xff\xfe", Settings(8), "not UTF-8"),
        (b'{"version": "2.0"}', Settings(8), "Unknown tokenizer version"),
        (b'{"version": "1.0", "model": {"type": "Odd"}}', Settings(8), "no tokenizer.json"),
        (None, Settings(0), "leaves no room"),
        (None, Settings(8, pad_token="[MASK]"), "no token '[MASK]'"),
    ],
)
def test_files_that_are_refused(data: bytes, file: bytes | None, settings: Settings, said: str) -> None:
    with pytest.raises(TokenizerError) as caught:
        Tokenizer(data if file is None else file, settings)
    assert said in str(caught.value)


def test_a_panic_of_the_library_is_a_refusal(data: bytes) -> None:
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}], "pair": [], "special_tokens": {}}  # fmt: skip
    with pytest.raises(TokenizerError):
        Tokenizer(changed(data, post_processor=template), Settings(8)).encode(["good"])


def test_a_file_without_a_token_for_filling_up_is_refused(tmp_path: Path) -> None:
    texts.write_tokenizer(tmp_path / "tokenizer.json", ("[UNK]", "good"))
    with pytest.raises(TokenizerError, match="pad_token"):
        Tokenizer((tmp_path / "tokenizer.json").read_bytes(), Settings(8))


def test_half_a_character_and_an_unknown_word_without_a_token_are_refused(data: bytes) -> None:
    with pytest.raises(TokenizerError, match="surrogate"):
        Tokenizer(data, Settings(8)).encode(["\ud800"])
    model = {**json.loads(data)["model"], "unk_token": "[NONE]"}
    with pytest.raises(TokenizerError, match="cannot be read"):
        Tokenizer(changed(data, model=model), Settings(8)).encode(["zebra"])


def test_damaged_files_are_refused_or_work(data: bytes) -> None:
    """Nothing but a refusal may come of a byte that is another."""
    chance = random.Random(0)
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 1, 3))):
            damaged[chance.randrange(len(damaged))] = chance.choice(b'0129"{}[]:,-eanx\\')
        try:
            found = Tokenizer(bytes(damaged), Settings(8)).encode(["a good film", "zebra", ""])
        except TokenizerError:
            continue
        assert {array.ndim for array in found.values()} == {2}
