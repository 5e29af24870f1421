"""The contract of a loader: one data format in, named arrays out.

One file in `loaders/` holds one subclass, whose fields are an entry of `data:` in model.yaml.
"""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from modelspec.framework import Files
from modelspec.options import Options

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Loader(Options):
    """One data set in one format."""

    name: ClassVar[str]
    revision: ClassVar[int]
    packages: ClassVar[tuple[str, ...]] = ("numpy",)
    imports: ClassVar[tuple[str, ...]] = ("numpy",)
    suffixes: ClassVar[tuple[str, ...]] = ()
    """File suffixes that choose this loader when `format` is left out."""

    labels: str | None = Field(None, description="The array that holds the true answers.", examples=["digit"])
    samples: int | None = Field(None, ge=1, description="Read no more than the first rows.", examples=[256])

    @abstractmethod
    def load(self, files: Files) -> "dict[str, NDArray[Any]]":
        """Named arrays, the first axis being the sample; the labels are one of them. Raises MS509."""
