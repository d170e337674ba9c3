"""Archives of NumPy arrays, compressed or not; nothing is unpickled.

This module does not know what a column means.
"""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.data.formats.arrays import DAMAGE, Arrays, Oversized, Pickled, WrongChecksum, words
from guidedflow.errors import InputError
from guidedflow.files import DamagedFile, reason


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
