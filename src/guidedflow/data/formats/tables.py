"""Tables with a row a step, read with pyarrow: Parquet, and text with a line of names (CSV).

This module does not know what a column means.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.data.formats.arrays import DAMAGE, Arrays, Ragged, needing, words
from guidedflow.errors import InputError
from guidedflow.files import DamagedFile

TEXT = (".csv", ".tsv")
"""What the names of text files with columns end in."""

_DELIMITERS = ",;\t"

_PIXELS = 2**24
"""More than this many pixels are no image of a camera."""


class ParquetArrays(Arrays):
    """Parquet files end to end; a list of equally many numbers a row becomes a matrix, a stored picture an image."""

    format = "parquet"

    def __init__(self, path: Path, parts: list[Path]) -> None:
        super().__init__(path)
        with needing("pyarrow", path, "parquet"):
            from pyarrow import parquet
        try:
            self._files = [parquet.ParquetFile(part) for part in parts]
        except DAMAGE as error:  # pyarrow's own errors are among these
            found = f"damage ({words(error)}); a recording that was cut off has no footer: get it again"
            raise DamagedFile(path, "complete Parquet", found) from error

    @property
    def names(self) -> list[str]:
        return list(self._files[0].schema_arrow.names)

    def _read(self, name: str) -> NDArray[Any]:
        return np.concatenate([_array(file.read([name]).column(0)) for file in self._files])

    def close(self) -> None:
        for file in self._files:
            file.close()


class CsvArrays(Arrays):
    """Text whose first line names the columns, apart by commas, semicolons or tabs."""

    format = "csv"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with needing("pyarrow", path, "parquet"):
            from pyarrow import csv
        try:
            with path.open(encoding="utf-8-sig") as file:
                head = file.readline().rstrip("\n")
            delimiter = max(_DELIMITERS, key=head.count)
            self._table = csv.read_csv(path, parse_options=csv.ParseOptions(delimiter=delimiter))
        except DAMAGE as error:
            raise DamagedFile(path, "a complete table", f"damage ({words(error)}); write it again") from error
        if all(map(_is_number, head.split(delimiter))):
            raise InputError(f"{path} must begin with a line of the columns' names, found numbers: {head[:60]!r}")

    @property
    def names(self) -> list[str]:
        return list(self._table.column_names)

    def _read(self, name: str) -> NDArray[Any]:
        return _array(self._table.column(name))

    def close(self) -> None:
        del self._table


def _array(column: Any) -> NDArray[Any]:
    """A column of Arrow's. Raises `Ragged` for lists of different lengths."""
    from pyarrow import compute

    values = column.combine_chunks()
    if "struct" in str(values.type).split("<")[0] and values.type.get_field_index("bytes") >= 0:
        return np.stack([_pixels(data.as_py()) for data in values.field("bytes")])
    rows, nested = len(values), False
    while "list" in str(values.type).split("<")[0]:
        if values.null_count or len(compute.list_value_length(values).unique()) != 1:
            raise Ragged("its lists are of different lengths")
        values, nested = values.flatten(), True
    flat = values.to_numpy(zero_copy_only=False)
    return flat.reshape(rows, -1) if nested else flat


def _pixels(data: bytes | None) -> NDArray[np.uint8]:
    """An image that is stored as a PNG or JPEG file. Raises ValueError for one that is missing or far too large."""
    from PIL import Image

    with Image.open(io.BytesIO(data or b""), formats=("PNG", "JPEG")) as image:
        if image.width * image.height > _PIXELS:
            raise ValueError(f"an image of {image.width} x {image.height} pixels is no camera's")
        return np.asarray(image.convert("RGB"))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
