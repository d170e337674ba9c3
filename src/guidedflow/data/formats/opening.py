"""Which kind of file or folder holds columns: recognised by its contents, or for text by its name.

This module does not know what a column means.
"""

from pathlib import Path

from guidedflow.data.formats.arrays import Arrays
from guidedflow.data.formats.episode_files import episode_files
from guidedflow.data.formats.hdf5 import Hdf5Arrays
from guidedflow.data.formats.npz import NpzArrays
from guidedflow.data.formats.tables import TEXT, CsvArrays, ParquetArrays
from guidedflow.errors import InputError
from guidedflow.files import reason

SUFFIXES = (".npz", ".hdf5", ".h5", ".parquet", *TEXT)
"""What the names of files with columns end in."""


def open_arrays(path: Path) -> Arrays:
    """The columns of a file, or of a folder with one file an episode.

    Raises `InputError` for what is missing, cut off or of another format.
    """
    if path.is_dir():
        return episode_files(path, open_file, SUFFIXES)
    return open_file(path)


def has_files(folder: Path) -> bool:
    """Whether a folder holds files with columns."""
    return any(path.suffix in SUFFIXES and not path.name.startswith(".") for path in folder.iterdir())


def open_file(path: Path) -> Arrays:
    """The columns of one file. Raises `InputError` for one that is missing, cut off or of another format."""
    try:
        with path.open("rb") as file:
            magic = file.read(8)
    except IsADirectoryError:
        raise InputError(f"{path} must be a file of columns, found a folder") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason(error)}") from error
    if magic[:2] == b"PK":
        return NpzArrays(path)
    if magic == b"\x89HDF\r\n\x1a\n":
        return Hdf5Arrays(path)
    if magic[:4] == b"PAR1":
        return ParquetArrays(path, [path])
    if path.suffix in TEXT:
        return CsvArrays(path)
    raise InputError(f"{path} must be an npz, HDF5 or Parquet file, found one that begins with {magic!r}")
