"""A function of the user that returns arrays."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from modelspec.errors import fail
from modelspec.framework import Files
from modelspec.loader import Loader
from modelspec.options import Entrypoint, Params

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Python(Loader):
    """A data set made by user code."""

    name: ClassVar[str] = "python"
    revision: ClassVar[int] = 1

    format: Literal["python"] = Field("python", description="A function returns the arrays.", examples=["python"])
    loader: Entrypoint = Field(
        description="file.py:callable that returns a mapping of name to array.", examples=["data.py:load"]
    )
    params: Params = Field(
        default_factory=dict, description="Keyword arguments of the callable.", examples=[{"split": "test"}]
    )

    def entrypoints(self) -> tuple[str, ...]:
        return (self.loader,)

    def load(self, files: Files) -> "dict[str, NDArray[Any]]":
        """What the function returns, as arrays."""
        import numpy as np

        from modelspec.user_code import call

        value = call(self.loader, files.code, **self.params)
        if not isinstance(value, Mapping):
            raise fail(
                "MS517",
                f"{self.loader} returned {type(value).__name__}, not a mapping of name to array",
                help='return {"x": array}',
                path=("loader",),
            )
        try:
            arrays = {str(name): np.asarray(array) for name, array in value.items()}
        except ValueError as error:
            raise fail(
                "MS517",
                f"{self.loader} returned rows of different lengths, which make no array",
                help="give every sample the same shape: pad them",
                path=("loader",),
            ) from error
        if objects := [name for name, array in arrays.items() if array.dtype.hasobject]:
            raise fail(
                "MS517",
                f"{self.loader}: {objects[0]!r} is an array of Python objects",
                help="return numbers, or text as a fixed-width array",
                path=("loader",),
            )
        return arrays
