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
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from guidedflow.errors import InputError, did_you_mean
from guidedflow.files import DamagedFile, reason

_NUMBERS = "bfiu"
DAMAGE = (
    *(KeyError, ValueError, TypeError, EOFError, OSError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error),
    *(SyntaxError, tokenize.TokenError),  # of a header, which NumPy reads as a literal of Python's
)
"""What reading a damaged file may raise."""

_BLOWN_UP = 2000
"""Larger than this many times its file is no column."""


Fault = Literal[
    "missing", "pickled", "text", "complex", "record", "ragged", "checksum", "oversized", "damaged", "misshapen"
]
"""Why a column cannot be read, or cannot be what it should be."""


class ColumnError(InputError):
    """What is wrong with one column of a file."""

    def __init__(self, path: Path, column: str, expected: str, found: str, fault: Fault = "misshapen") -> None:
        super().__init__(f"{path}: {column!r} must {expected}, found {found}")
        self.path, self.column, self.expected, self.found, self.fault = path, column, expected, found, fault


class Oversized(ValueError):
    """A column whose header says more than its file holds."""


class Ragged(ValueError):
    """A column whose rows are of different lengths."""


class Pickled(ValueError):
    """A column of pickled objects."""


class WrongChecksum(OSError):
    """A column whose bytes are not those that its checksum was made of."""


_FAULTS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Fault], ...] = (
    (Oversized, "oversized"),
    (Ragged, "ragged"),
    (Pickled, "pickled"),
    ((WrongChecksum, zlib.error), "checksum"),
    (Exception, "damaged"),
)
"""The first that an error is."""

_KINDS: dict[str, Fault] = {"U": "text", "S": "text", "O": "text", "T": "text", "c": "complex"}
"""NumPy's letters for what is no number."""


@dataclass(frozen=True)
class LeftOut:
    """A name in a file that is no column: of which kind, and in words."""

    kind: Literal[
        "external-link", "broken-link", "recursive-group", "virtual-column", "external-storage", "foreign-member"
    ]
    words: str


Opened = TypeVar("Opened", bound="Arrays")


class Arrays(ABC):
    """An open file of named columns; use it in a `with`."""

    format: str
    left_out: Mapping[str, LeftOut] = {}
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
                found = f"{self.left_out[name].words}, which is not read"
                raise self.complaint(name, "be there, in the file itself", found, "missing")
            raise self.complaint(name, f"be there{did_you_mean(name, names)}", f"only {shown or 'nothing'}", "missing")
        try:
            column = self._read(name)
        except DAMAGE as error:
            fault = next(fault for kind, fault in _FAULTS if isinstance(error, kind))
            told = f"damage ({words(error)}); get the file again"
            raise self.complaint(name, "be a readable array", told, fault) from error
        if column.dtype.kind not in _NUMBERS:
            raise self.complaint(name, "be numbers", f"{column.dtype}", _KINDS.get(column.dtype.kind, "record"))
        return column

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def complaint(self, name: str, expected: str, found: str, fault: Fault = "misshapen") -> ColumnError:
        """The sentence about a column."""
        return ColumnError(self.path, name, expected, found, fault)

    def __enter__(self: Opened) -> Opened:
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
            self._file = path.open("rb")
        except OSError as error:
            raise InputError(f"{path} cannot be read: {reason(error)}") from error
        try:
            if (magic := self._file.read(4))[:2] != b"PK":
                raise InputError(f"{path} must be an .npz archive of arrays, found a file that begins with {magic!r}")
            if not zipfile.is_zipfile(self._file):
                raise DamagedFile(path, "a complete .npz archive", "one that is cut off; get it again")
            self._file.seek(0)
            self._archive = np.load(self._file, allow_pickle=False)
        except DAMAGE as error:
            self._file.close()
            raise DamagedFile(path, "a complete .npz archive", f"damage ({words(error)}); get it again") from error
        except InputError:
            self._file.close()
            raise

    @property
    def names(self) -> list[str]:
        return list(self._archive.files)

    @property
    def strangers(self) -> list[str]:
        """Members that are no arrays."""
        return [name for name in self._archive.zip.namelist() if not name.endswith(".npy")]

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and type of a column, without reading it. Raises `ColumnError`."""
        try:
            return self._header(name)
        except DAMAGE as error:
            told = f"damage ({words(error)}); get it again"
            raise self.complaint(name, "be a readable array", told, "damaged") from error

    @property
    def checksums(self) -> frozenset[tuple[str, int, int]]:
        """Name, checksum and size of each column, as the archive's directory says them."""
        listed = (self._archive.zip.getinfo(f"{name}.npy") for name in self.names if f"{name}.npy" in self._members)
        return frozenset((info.filename, info.CRC, info.file_size) for info in listed)

    @property
    def _members(self) -> list[str]:
        return self._archive.zip.namelist()

    def _header(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        with self._archive.zip.open(f"{name}.npy") as stream, _checksums():
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(stream)
        return shape, dtype

    def _read(self, name: str) -> NDArray[Any]:
        if f"{name}.npy" in self._members:
            shape, dtype = self._header(name)
            if dtype.hasobject:
                raise Pickled("pickled objects are never loaded")
            wanted, held = math.prod(shape) * dtype.itemsize, self._archive.zip.getinfo(f"{name}.npy").file_size
            if wanted > held:  # before memory is asked for that a forged header names
                raise Oversized(f"its header says {wanted:,} bytes, its file holds {held:,}")
        with _checksums():
            return np.asarray(self._archive[name])

    def close(self) -> None:
        self._archive.close()
        self._file.close()


@contextmanager
def _checksums() -> Iterator[None]:
    """Within it a member of an archive is read, whose place there is known to be right, so an error is in its bytes."""
    try:
        yield
    except zipfile.BadZipFile as error:
        raise WrongChecksum(words(error)) from error


class Hdf5Arrays(Arrays):
    """An HDF5 file; links to other files and virtual datasets are left out."""

    format = "hdf5"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with needing("h5py", path, "hdf5"):
            import h5py
        self._h5py = h5py
        self.left_out: dict[str, LeftOut] = {}
        self.file: Any = None
        try:
            self.file = h5py.File(path, "r")
            self._names = list(self._walk(self.file, "", ()))
        except (*DAMAGE, AttributeError) as error:
            self.close()
            raise DamagedFile(path, "a complete HDF5 file", f"damage ({words(error)}); get it again") from error

    @property
    def names(self) -> list[str]:
        return self._names

    def _walk(self, group: Any, prefix: str, above: tuple[Any, ...]) -> Iterator[str]:
        for key in group:
            name, link = f"{prefix}{key}", group.get(key, getlink=True)
            if not isinstance(link, self._h5py.HardLink):
                if isinstance(link, self._h5py.ExternalLink):
                    self.left_out[name] = LeftOut("external-link", f"a link to another file, {link.filename}")
                else:
                    self.left_out[name] = LeftOut("broken-link", f"a link inside the file, to {link.path}")
                continue
            member = group[key]
            if isinstance(member, self._h5py.Group):
                if member in (group, *above):
                    self.left_out[name] = LeftOut("recursive-group", f"a group inside itself, {member.name}")
                else:
                    yield from self._walk(member, f"{name}/", (group, *above))
            elif not isinstance(member, self._h5py.Dataset):
                self.left_out[name] = LeftOut("foreign-member", "a type without data")
            elif member.is_virtual:
                self.left_out[name] = LeftOut("virtual-column", "a virtual dataset")
            elif member.external is not None:
                self.left_out[name] = LeftOut("external-storage", f"data of another file, {member.external[0][0]}")
            else:
                yield name

    def _read(self, name: str) -> NDArray[Any]:
        column = self.file[name]
        if column.nbytes > max(_BLOWN_UP * self.path.stat().st_size, 2**24):
            raise Oversized(f"its header says {column.nbytes:,} bytes, its file holds {self.path.stat().st_size:,}")
        try:
            return np.asarray(column[()])
        except OSError as error:
            if column.id.get_create_plist().get_nfilters():  # which decompress, and compare checksums
                raise WrongChecksum(words(error)) from error
            raise

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
            found = f"damage ({words(error)}); a recording that was cut off has no footer: get it again"
            raise DamagedFile(path, "complete Parquet", found) from error

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
                    raise Ragged("its lists are of different lengths")
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
