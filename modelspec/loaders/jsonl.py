"""JSON lines: one object per sample; each key becomes an array."""

import json
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from modelspec.errors import fail
from modelspec.framework import Files
from modelspec.loader import Loader
from modelspec.remote import ProjectFile

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Jsonl(Loader):
    """A data set in a .jsonl file."""

    name: ClassVar[str] = "jsonl"
    revision: ClassVar[int] = 1
    suffixes: ClassVar[tuple[str, ...]] = (".jsonl",)
    paths: ClassVar[tuple[str, ...]] = ("path",)

    format: Literal["jsonl"] = Field("jsonl", description="One JSON object per line.", examples=["jsonl"])
    path: ProjectFile = Field(description="The file.", examples=["data/test.jsonl"])

    def load(self, files: Files) -> "dict[str, NDArray[Any]]":
        """Whole numbers as int64, others as float64, text as it is; nested lists become further axes."""
        path = files.path("path")
        samples: list[dict[str, Any]] = []
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            if line.strip():
                samples.append(self._sample(path.name, number, line, samples))
        if not samples:
            raise fail("MS509", f"{path.name} has no samples", help="write an object a line", path=("path",))
        return {key: self._stack(path.name, key, [sample[key] for sample in samples]) for key in samples[0]}

    @staticmethod
    def _sample(name: str, number: int, line: bytes, before: list[dict[str, Any]]) -> dict[str, Any]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            said = f"{name}: line {number} is not JSON: {error}"
            raise fail("MS509", said, help="write an object a line, as json.dumps does", path=("path",)) from error
        if not isinstance(value, dict):
            said = f"{name}: line {number} is not an object"
            raise fail(
                "MS509", said, help='write an object a line, for example {"x": [1, 2], "label": 0}', path=("path",)
            )
        if before and value.keys() != before[0].keys():
            said = f"{name}: line {number} has the keys {', '.join(value)}, and the first {', '.join(before[0])}"
            raise fail("MS509", said, help="give every sample the same keys", path=("path",))
        return value

    @staticmethod
    def _stack(name: str, key: str, values: list[Any]) -> "NDArray[Any]":
        import numpy as np

        try:
            array = np.array(values)
        except (ValueError, OverflowError):
            array = np.array(None)
        if array.dtype.kind not in "iufbU":
            odd = next((i for i, value in enumerate(values) if not _alike(value, values[0])), 0)
            raise fail(
                "MS509",
                f"{name}: {key!r} does not stack: sample {odd + 1} differs from the first, or is no number",
                help="give every sample the same shape: pad them; NaN stands for a missing number",
                path=("path",),
            )
        return array


def _alike(value: Any, first: Any) -> bool:
    """Whether a value has the shape of the first, and nothing but numbers or text in it."""
    import numpy as np

    try:
        return np.shape(value) == np.shape(first) and np.array(value).dtype.kind in "iufbU"
    except (ValueError, OverflowError):
        return False
