"""Named columns of numbers in a file, whatever its format: npz, HDF5 or Parquet.

A format is told by the first bytes, not by the name. Nothing is unpickled, no link out of an HDF5 file is followed, and
whatever cannot be read is an `InputError` that names the file and the column. This module does not know what a column
means.
"""

import math
import tokenize
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.errors import InputError, did_you_mean
from guidedflow.files import reason

_NUMBERS = "bfiu"
DAMAGE = (
    *(KeyError, ValueError, TypeError, EOFError, OSError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error),
    *(SyntaxError, tokenize.TokenError),  # of a header, which NumPy reads as a literal of Python's
)
"""What reading a damaged file may raise."""

_BLOWN_UP = 2000
"""Larger than this many times its file is no column."""


class ColumnError(InputError):
    """What is wrong with one column of a file."""

    def __init__(self, path: Path, column: str, expected: str, found: str) -> None:
        super().__init__(f"{path}: {column!r} must {expected}, found {found}")
        self.path, self.column, self.expected, self.found = path, column, expected, found


class Oversized(ValueError):
    """A column whose header says more than its file holds."""


class Arrays(ABC):
    """An open file of named columns; use it in a `with`."""

    format: str
    left_out: Mapping[str, str] = {}
    """Names that are no columns, and what they are."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """The columns, nested ones as `group/name`."""

    @abstractmethod
    def _read(self, name: str) -> NDArray[Any]:
        """A column that is there."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def read(self, name: str) -> NDArray[Any]:
        """A column of numbers. Raises `InputError` where it is missing, damaged, or something else than numbers."""
        names = self.names
        if name not in names:
            shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            if name in self.left_out:
                raise self.complaint(name, "be there, in the file itself", f"{self.left_out[name]}, which is not read")
            raise self.complaint(name, f"be there{did_you_mean(name, names)}", f"only {shown or 'nothing'}")
        try:
            column = self._read(name)
        except DAMAGE as error:
            raise self.complaint(name, "be a readable array", f"damage ({words(error)}); get the file again") from error
        if column.dtype.hasobject or column.dtype.kind not in _NUMBERS:
            raise self.complaint(name, "be numbers", f"{column.dtype}")
        return column

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def complaint(self, name: str, expected: str, found: str) -> InputError:
        """The sentence about a column."""
        return ColumnError(self.path, name, expected, found)

    def __enter__(self) -> "Arrays":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_arrays(path: Path) -> Arrays:
    """The columns of a file. Raises `InputError` for a file that is missing, cut off or of another format."""
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
    raise InputError(f"{path} must be an npz, HDF5 or Parquet file, found one that begins with {magic!r}")


class NpzArrays(Arrays):
    """An uncompressed or compressed archive of NumPy arrays."""

    format = "npz"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = path.open("rb")
        try:
            self._archive = np.load(self._file, allow_pickle=False)
        except DAMAGE as error:
            self._file.close()
            raise InputError(
                f"{path} must be a complete .npz archive, found damage ({words(error)}); get it again"
            ) from error

    @property
    def names(self) -> list[str]:
        return list(self._archive.files)

    @property
    def strangers(self) -> list[str]:
        """Members that are no arrays."""
        return [name for name in self._archive.zip.namelist() if not name.endswith(".npy")]

    def _read(self, name: str) -> NDArray[Any]:
        self._check_size(f"{name}.npy")
        return np.asarray(self._archive[name])

    def _check_size(self, member: str) -> None:
        """Raises `Oversized` before memory is asked for that a forged header names."""
        if member not in self._archive.zip.namelist():
            return
        with self._archive.zip.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(stream)
        wanted, held = math.prod(shape) * dtype.itemsize, self._archive.zip.getinfo(member).file_size
        if wanted > held and not dtype.hasobject:
            raise Oversized(f"its header says {wanted:,} bytes, its file holds {held:,}")

    def close(self) -> None:
        self._archive.close()
        self._file.close()


class Hdf5Arrays(Arrays):
    """An HDF5 file; links to other files and virtual datasets are left out."""

    format = "hdf5"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with needing("h5py", path, "hdf5"):
            import h5py
        self._h5py = h5py
        self.left_out: dict[str, str] = {}
        self.file: Any = None
        try:
            self.file = h5py.File(path, "r")
            self._names = list(self._walk(self.file, "", ()))
        except (*DAMAGE, AttributeError) as error:
            self.close()
            raise InputError(
                f"{path} must be a complete HDF5 file, found damage ({words(error)}); get it again"
            ) from error

    @property
    def names(self) -> list[str]:
        return self._names

    def _walk(self, group: Any, prefix: str, above: tuple[Any, ...]) -> Iterator[str]:
        for key in group:
            name, link = f"{prefix}{key}", group.get(key, getlink=True)
            if not isinstance(link, self._h5py.HardLink):
                outside = isinstance(link, self._h5py.ExternalLink)
                self.left_out[name] = (
                    f"a link to another file, {link.filename}" if outside else f"a link inside the file, to {link.path}"
                )
                continue
            member = group[key]
            if isinstance(member, self._h5py.Group):
                if member in (group, *above):
                    self.left_out[name] = f"a group inside itself, {member.name}"
                else:
                    yield from self._walk(member, f"{name}/", (group, *above))
            elif not isinstance(member, self._h5py.Dataset):
                self.left_out[name] = "a type without data"
            elif member.is_virtual:
                self.left_out[name] = "a virtual dataset"
            elif member.external is not None:
                self.left_out[name] = f"data of another file, {member.external[0][0]}"
            else:
                yield name

    def _read(self, name: str) -> NDArray[Any]:
        column = self.file[name]
        if column.nbytes > max(_BLOWN_UP * self.path.stat().st_size, 2**24):
            raise Oversized(f"its header says {column.nbytes:,} bytes, its file holds {self.path.stat().st_size:,}")
        return np.asarray(column[()])

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


class ParquetArrays(Arrays):
    """Parquet files end to end; a list of equally many numbers a row becomes a matrix."""

    format = "parquet"

    def __init__(self, path: Path, parts: list[Path]) -> None:
        super().__init__(path)
        with needing("pyarrow", path, "parquet"):
            from pyarrow import parquet
        try:
            self._files = [parquet.ParquetFile(part) for part in parts]
        except DAMAGE as error:  # pyarrow's own errors are among these
            broken = f"{path} must be complete Parquet, found damage ({words(error)})"
            raise InputError(f"{broken}; a recording that was cut off has no footer: get it again") from error

    @property
    def names(self) -> list[str]:
        return list(self._files[0].schema_arrow.names)

    def _read(self, name: str) -> NDArray[Any]:
        from pyarrow import compute

        pieces = []
        for file in self._files:
            values = file.read([name]).column(0).combine_chunks()
            rows, nested = len(values), False
            while "list" in str(values.type).split("<")[0]:
                if values.null_count or len(compute.list_value_length(values).unique()) != 1:
                    raise ValueError("its lists are of different lengths")
                values, nested = values.flatten(), True
            flat = values.to_numpy(zero_copy_only=False)
            pieces.append(flat.reshape(rows, -1) if nested else flat)
        return np.concatenate(pieces)

    def close(self) -> None:
        for file in self._files:
            file.close()


def words(error: BaseException) -> str:
    """What a library says about damage, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def needing(package: str, path: Path | str, extra: str) -> Iterator[None]:
    """Within it, a package that is not installed is an `InputError` that names the extra to install."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"{path} needs {package} to be read ({error}): install it by pip install 'guidedflow[{extra}]'"
        ) from error
