"""Named columns of numbers in a file, whatever its format: npz, HDF5 or Parquet.

A format is told by the first bytes, not by the name. Nothing is unpickled, no link out of an HDF5 file is followed, and
whatever cannot be read is an `InputError` that names the file and the column. This module does not know what a column
means.
"""

import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.errors import InputError, did_you_mean
from guidedflow.files import reason

_NUMBERS = "bfiu"
_DAMAGE = (KeyError, ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error)


class Arrays(ABC):
    """An open file of named columns; use it in a `with`."""

    format: str

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
            raise self.complaint(name, f"be there{did_you_mean(name, names)}", f"only {shown or 'nothing'}")
        try:
            column = self._read(name)
        except _DAMAGE as error:
            raise self.complaint(name, "be a readable array", f"damage ({error}); get the file again") from error
        if column.dtype.hasobject or column.dtype.kind not in _NUMBERS:
            raise self.complaint(name, "be numbers", f"{column.dtype}")
        return column

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def complaint(self, name: str, expected: str, found: str) -> InputError:
        """The sentence about a column."""
        return InputError(f"{self.path}: {name!r} must {expected}, found {found}")

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
        try:
            self._archive = np.load(path, allow_pickle=False)
        except _DAMAGE as error:
            raise InputError(f"{path} must be a complete .npz archive, found damage ({error}); get it again") from error

    @property
    def names(self) -> list[str]:
        return list(self._archive.files)

    def _read(self, name: str) -> NDArray[Any]:
        return self._archive[name]

    def close(self) -> None:
        self._archive.close()


class Hdf5Arrays(Arrays):
    """An HDF5 file; links to other files and virtual datasets are left out."""

    format = "hdf5"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with needing("h5py", path, "hdf5"):
            import h5py
        self._h5py = h5py
        try:
            self.file = h5py.File(path, "r")
        except OSError as error:
            raise InputError(f"{path} must be a complete HDF5 file, found damage ({error}); get it again") from error
        self._names = list(self._walk(self.file, ""))

    @property
    def names(self) -> list[str]:
        return self._names

    def _walk(self, group: Any, prefix: str, depth: int = 0) -> Iterable[str]:
        for key in group:
            if not isinstance(group.get(key, getlink=True), self._h5py.HardLink):
                continue
            member = group[key]
            if isinstance(member, self._h5py.Dataset) and not member.is_virtual and member.external is None:
                yield f"{prefix}{key}"
            elif isinstance(member, self._h5py.Group) and depth < 16:  # a group may contain itself
                yield from self._walk(member, f"{prefix}{key}/", depth + 1)

    def _read(self, name: str) -> NDArray[Any]:
        return np.asarray(self.file[name][()])

    def close(self) -> None:
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
        except (OSError, ValueError) as error:  # pyarrow's own errors are among these
            broken = f"{path} must be complete Parquet, found damage ({error})"
            raise InputError(f"{broken}; a recording that was cut off has no footer: get it again") from error

    @property
    def names(self) -> list[str]:
        return list(self._files[0].schema_arrow.names)

    def _read(self, name: str) -> NDArray[Any]:
        pieces = []
        for file in self._files:
            values = file.read([name]).column(0).combine_chunks()
            rows, nested = len(values), False
            while "list" in str(values.type).split("<")[0]:
                values, nested = values.flatten(), True
            flat = values.to_numpy(zero_copy_only=False)
            if nested and (rows == 0 or len(flat) % rows):
                raise ValueError("its lists are of different lengths")
            pieces.append(flat.reshape(rows, -1) if nested else flat)
        return np.concatenate(pieces)

    def close(self) -> None:
        for file in self._files:
            file.close()


@contextmanager
def needing(package: str, path: Path | str, extra: str) -> Iterator[None]:
    """Within it, a package that is not installed is an `InputError` that names the extra to install."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"{path} needs {package} to be read ({error}): install it by pip install 'guidedflow[{extra}]'"
        ) from error
