"""Text to the numbers that a model takes: one code for all who do it, so that what was measured is what is served."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

FILE = "tokenizer.json"
KEY = "processing"
"""Where runtime.json says how text is processed."""
IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
TENSORS = (IDS, MASK, TYPES)
"""What a tokenizer gives; a model takes the ids, and of the others those that it has."""
MAX_FILE = 128 << 20
_PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "<|padding|>")
_TEXT_KINDS = "OU"


class TokenizerError(Exception):
    """The tokenizer cannot be used, or cannot read a text."""


@dataclass(frozen=True)
class Settings:
    """How texts are cut and filled up."""

    max_length: int
    padding: str = "longest"
    pad_token: str | None = None


def read(file: Path) -> bytes:
    """The bytes of a tokenizer.json. Raises TokenizerError when it is too large to be one."""
    if file.stat().st_size > MAX_FILE:
        raise TokenizerError(f"it has more than {MAX_FILE >> 20} MiB")
    return file.read_bytes()


class Tokenizer:
    """A `tokenizer.json` of Hugging Face's tokenizers. Raises TokenizerError when it is none, or does not suit the settings."""

    def __init__(self, data: bytes, settings: Settings) -> None:
        # A thread for each core would take those of other requests and actions, and gains little on short texts.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import tokenizers

        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise TokenizerError("it is not UTF-8") from None
        with _explained("it is no tokenizer.json that this release of tokenizers reads"):
            self._tokenizer = tokenizers.Tokenizer.from_str(text)
            vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self.largest_id: int = max(vocabulary.values(), default=0)
        self._settings = settings
        self._cut()
        self._fill()

    def _cut(self) -> None:
        with _explained("its special tokens make no sense"):
            special = self._tokenizer.num_special_tokens_to_add(False)
        if self._settings.max_length <= special:
            raise TokenizerError(
                f"max_length {self._settings.max_length} leaves no room beside {special} special tokens"
            )
        direction = (self._tokenizer.truncation or {}).get("direction", "right")
        with _explained("it cannot cut texts"):
            self._tokenizer.enable_truncation(self._settings.max_length, direction=direction)

    def _fill(self) -> None:
        said = self._tokenizer.padding or {}
        named = self._settings.pad_token
        wanted = (named,) if named is not None else (said.get("pad_token"), *_PAD_TOKENS)
        token = next((token for token in wanted if token and self._tokenizer.token_to_id(token) is not None), None)
        if token is None:
            raise TokenizerError(f"it has no token {named!r}" if named is not None else "it names no token for padding; write pad_token")  # fmt: skip
        self._pad_id = int(self._tokenizer.token_to_id(token) or 0)
        length = self._settings.max_length if self._settings.padding == "max_length" else None
        with _explained("it cannot fill up texts"):
            self._tokenizer.enable_padding(
                direction=said.get("direction", "right"), pad_id=self._pad_id, pad_type_id=said.get("pad_type_id", 0),
                pad_token=token, length=length,
            )  # fmt: skip

    def encode(self, texts: Sequence[str]) -> Arrays:
        """All tensors, int64, one row for each text; a longer text is cut, a shorter one filled up."""
        try:
            for text in texts:
                text.encode()
        except UnicodeEncodeError:
            raise TokenizerError("a text holds half a character (a lone surrogate)") from None
        with _explained("a text cannot be read"):
            found = self._tokenizer.encode_batch(list(texts))
        rows = [(one.ids, one.attention_mask, one.type_ids) for one in found]
        if rows and not rows[0][0]:
            # Empty texts without special tokens: most models refuse an axis of no length.
            rows = [([self._pad_id], [0], [0])] * len(rows)
        arrays = [np.array(side, np.int64).reshape(len(rows), -1) for side in zip(*rows, strict=True)]
        return dict(zip(TENSORS, arrays, strict=True))

    def is_cut(self, texts: Sequence[str]) -> int:
        """How many of the texts are longer than `max_length`."""
        with _explained("a text cannot be read"):
            return sum(bool(one.overflowing) for one in self._tokenizer.encode_batch(list(texts)))


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        # The library raises Exception itself and nothing narrower, and a panic of its Rust code is no Exception at all.
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        raise TokenizerError(f"{what}: {str(error)[:200]}") from error


class TextInput:
    """The input of texts in the place of the tensors that a tokenizer makes of them; other inputs go through."""

    def __init__(self, tokenizer: Tokenizer, name: str, tensors: Mapping[str, str]) -> None:
        self.tokenizer, self.name = tokenizer, name
        self._dtypes = {tensor: np.dtype(dtype) for tensor, dtype in tensors.items() if tensor in TENSORS}

    @classmethod
    def of(cls, said: Mapping[str, Any], data: bytes) -> "TextInput":
        """As the `tokenizer` of runtime.json says. Raises TokenizerError, and KeyError or TypeError for what makes no sense."""
        settings = Settings(int(said["max_length"]), str(said["padding"]), said["pad_token"])
        tensors = {str(tensor["name"]): str(tensor["dtype"]) for tensor in said["inputs"]}
        return cls(Tokenizer(data, settings), str(said["input"]), tensors)

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """The inputs of the model itself."""
        texts = inputs[self.name]
        assert texts.dtype.kind in _TEXT_KINDS
        assert texts.ndim == 1
        made = self.tokenizer.encode([str(text) for text in texts])
        tensors = {name: made[name].astype(dtype, copy=False) for name, dtype in self._dtypes.items()}
        return {**{name: array for name, array in inputs.items() if name != self.name}, **tensors}


def text_input(runtime: Mapping[str, Any], folder: Path) -> TextInput | None:
    """The one of a published folder; None where the model takes no text."""
    said = runtime.get(KEY, {}).get("tokenizer")
    return None if said is None else TextInput.of(said, read(folder / FILE))
