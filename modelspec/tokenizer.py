"""The `tokenizer` of `processing`: how text becomes what the model takes, in the build and in the server alike."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from modelspec.errors import fail
from modelspec.options import Options
from modelspec.remote import ProjectFile
from modelspec.target import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from modelspec.runtime.processing import TextInput
    from modelspec.runtime.processing import Tokenizer as Opened

_AXIS_NAME = r"^[A-Za-z_][A-Za-z0-9_.-]*$"
EXTRA = "text"
"""What installs the library."""


class Tokenizer(Options):
    """Text in: a tokenizer.json, and how texts are cut and filled up."""

    revision: ClassVar[int] = 1
    """Raise it when `runtime/processing.py` makes other numbers of the same text."""
    packages: ClassVar[tuple[str, ...]] = ("numpy", "tokenizers")
    imports: ClassVar[tuple[str, ...]] = ("numpy", "tokenizers")
    paths: ClassVar[tuple[str, ...]] = ("path",)
    input_names: ClassVar[Mapping[str, str]] = {"path": "tokenizer"}

    path: ProjectFile = Field(
        description="The tokenizer.json, as Hugging Face's tokenizers writes it.", examples=["tokenizer.json"]
    )
    max_length: int = Field(
        ge=1, le=1_000_000, description="Tokens after which a text is cut, special ones included.", examples=[128]
    )
    padding: Literal["longest", "max_length"] = Field(
        "longest",
        description="Whether shorter texts are filled up to the longest of their batch, or always to max_length.",
        examples=["max_length"],
    )
    pad_token: str | None = Field(
        None, min_length=1, description="The token that fills up; told from the file.", examples=["<pad>"]
    )
    input: str = Field(
        "text", pattern=_AXIS_NAME, max_length=100, description="Name of the input of texts.", examples=["sentence"]
    )

    def open(self, file: Path) -> "Opened":
        """The tokenizer. Raises MS524 when the file is none, or does not suit these options."""
        from modelspec.runtime import processing

        try:
            settings = processing.Settings(self.max_length, self.padding, self.pad_token)
            return processing.Tokenizer(processing.read(file), settings)
        except processing.TokenizerError as error:
            message = f"{file.name} cannot be used as the tokenizer: {error}"
            fix = "take the tokenizer.json that belongs to the model, and the options that suit it"
            raise fail("MS524", message, help=fix, path=("tokenizer", "path")) from error

    def published(self) -> dict[str, Any]:
        """The options in the words of runtime.json."""
        return {name: getattr(self, name) for name in ("max_length", "padding", "pad_token", "input")}


def in_text(session: Session, runtime: Path, tokenizer: Path) -> Session:
    """A session that is asked in text, as runtime.json says. Raises MS524 where the two files do not belong together."""
    from modelspec.runtime import processing

    try:
        said = json.loads(runtime.read_bytes())[processing.KEY]["tokenizer"]
        return _TextSession(session, processing.TextInput.of(said, processing.read(tokenizer)))
    except (processing.TokenizerError, ValueError, KeyError, TypeError) as error:
        raise fail("MS524", f"{tokenizer.name} cannot be used as the tokenizer: {error}", help="build again") from error


def as_published(session: Session, folder: Path) -> Session:
    """The session of a published folder as it is served. Raises MS524 where its files do not belong together."""
    from modelspec.runtime import processing

    runtime = folder / "runtime.json"
    if not runtime.is_file():
        return session  # what lacks it is told by whoever reads the folder
    try:
        takes_text = "tokenizer" in json.loads(runtime.read_bytes()).get(processing.KEY, {})
        return in_text(session, runtime, folder / processing.FILE) if takes_text else session
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise fail("MS524", f"the tokenizer of the folder cannot be used: {error}", help="build again") from error


class _TextSession:
    def __init__(self, session: Session, texts: "TextInput") -> None:
        self._session, self._texts = session, texts

    def run(self, inputs: "Mapping[str, NDArray[Any]]") -> "dict[str, NDArray[Any]]":
        from modelspec.runtime.processing import TokenizerError

        try:
            return self._session.run(self._texts(inputs))
        except TokenizerError as error:
            raise fail("MS508", f"a text cannot be tokenized: {error}", help="correct the texts") from error
