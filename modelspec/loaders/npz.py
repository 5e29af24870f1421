"""NumPy archives: the arrays as they are."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from modelspec.framework import Files
from modelspec.loader import Loader
from modelspec.remote import ProjectFile

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Npz(Loader):
    """A data set in an .npz file."""

    name: ClassVar[str] = "npz"
    revision: ClassVar[int] = 1
    suffixes: ClassVar[tuple[str, ...]] = (".npz",)
    paths: ClassVar[tuple[str, ...]] = ("path",)

    format: Literal["npz"] = Field("npz", description="A NumPy archive.", examples=["npz"])
    path: ProjectFile = Field(description="The file.", examples=["data/test.npz"])

    def load(self, files: Files) -> "dict[str, NDArray[Any]]":
        from modelspec.formats import npz

        return npz.read(files.path("path"))
