"""CSV files with a header: numeric columns become arrays."""

import json
import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from modelspec.errors import ModelspecError, fail
from modelspec.framework import Files
from modelspec.loader import Loader
from modelspec.remote import ProjectFile
from modelspec.words import closest

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Csv(Loader):
    """A data set in a .csv file."""

    name: ClassVar[str] = "csv"
    revision: ClassVar[int] = 1
    suffixes: ClassVar[tuple[str, ...]] = (".csv",)
    paths: ClassVar[tuple[str, ...]] = ("path",)

    format: Literal["csv"] = Field("csv", description="Comma-separated values with a header.", examples=["csv"])
    path: ProjectFile = Field(description="The file.", examples=["data/test.csv"])
    delimiter: str = Field(",", min_length=1, max_length=1, description="What separates the values.", examples=[";"])
    columns: dict[str, tuple[str, ...]] | None = Field(
        None,
        description="Arrays by name, each made of columns side by side; without it all columns but the labels "
        "become one array.",
        examples=[{"x": ["height", "weight"]}],
    )
    text: tuple[str, ...] = Field(
        (), description="Columns of text; each becomes an array of its own name.", examples=[["review"]]
    )

    def keyed(self) -> dict[str, Any]:
        """Without `text` where there is none: what was read before stays as it is."""
        value = super().keyed()
        return value if self.text else {name: item for name, item in value.items() if name != "text"}

    def load(self, files: Files) -> "dict[str, NDArray[Any]]":
        """Columns side by side as float64 [rows, columns], an empty field being no number; text [rows]; the labels as
        int64 [rows] where they are whole, or text."""
        import numpy as np

        header, rows = self._rows(files)
        if self.labels is not None and self.labels not in {*header, *(self.columns or ())}:
            raise _no_column(self.labels, header, ("labels",))
        if absent := [name for name in self.text if name not in header]:
            raise _no_column(absent[0], header, ("text",))
        others = tuple(name for name in header if name not in {self.labels, *self.text})
        wanted = self.columns or {"x": others}
        arrays = {name: self._numbers(header, rows, columns) for name, columns in wanted.items() if columns}
        arrays |= {name: np.array([row[header.index(name)] for row in rows], np.str_) for name in self.text}
        if self.labels is not None and self.labels in header:
            arrays[self.labels] = _labels([row[header.index(self.labels)] for row in rows])
        return arrays

    def _rows(self, files: Files) -> tuple[list[str], list[list[str]]]:
        import csv

        path = files.path("path")
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                header, *rows = [row for row in csv.reader(file, delimiter=self.delimiter, strict=True) if row] or [[]]
        except (csv.Error, UnicodeDecodeError) as error:
            raise fail(
                "MS509", f"{path.name} is not readable CSV: {error}", help="save it as UTF-8 text", path=("path",)
            ) from error
        if len(set(header)) != len(header) or not header:
            raise fail(
                "MS509",
                f"{path.name} has no header, or a column twice",
                help="the first line names the columns",
                path=("path",),
            )
        other = next((char for char in ";\t|" if len(header) == 1 and char in header[0]), None)
        if other:
            raise fail(
                "MS509",
                f"{path.name} has one column, named {header[0]!r}",
                help=f"write delimiter: {json.dumps(other)}",
                path=("path",),
            )
        for number, row in enumerate(rows, start=2):
            if len(row) != len(header):
                raise fail(
                    "MS509",
                    f"{path.name}: line {number} has {len(row)} values, the header {len(header)}",
                    help="put a field that holds the delimiter in quotes",
                    path=("path",),
                )
        return header, rows

    def _numbers(self, header: list[str], rows: list[list[str]], columns: tuple[str, ...]) -> "NDArray[Any]":
        import numpy as np

        if absent := [name for name in columns if name not in header]:
            raise _no_column(absent[0], header, ("columns",))
        places = [header.index(name) for name in columns]
        try:
            return np.array([[float(row[place]) for place in places] for row in rows]).reshape(len(rows), len(places))
        except ValueError:
            fields = [
                [_number(line, header[place], row[place]) for place in places] for line, row in enumerate(rows, 1)
            ]
            return np.array(fields)


def _number(line: int, column: str, field: str) -> float:
    """The number in a field; an empty one is a missing value, NaN. Raises MS509 for anything else."""
    try:
        return float(field) if field.strip() else math.nan
    except ValueError as error:
        raise fail(
            "MS509",
            f"row {line} has {field!r} in the column {column!r}, which is no number",
            help="name the numeric columns, for example columns: {x: [height, weight]}",
            path=("path",),
        ) from error


def _no_column(name: str, header: list[str], path: tuple[str, ...]) -> ModelspecError:
    near = closest(name, header)
    fix = f"did you mean {near!r}?" if near else "the first line of the file names the columns"
    return fail("MS509", f"there is no column {name!r}; there are {', '.join(map(repr, header))}", help=fix, path=path)


def _labels(values: list[str]) -> "NDArray[Any]":
    import numpy as np

    for kind in (np.int64, np.float64):
        try:
            return np.array(values, dtype=np.str_).astype(kind)
        except ValueError:
            continue
    return np.array(values, dtype=np.str_)
