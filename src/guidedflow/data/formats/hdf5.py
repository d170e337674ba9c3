"""HDF5 files, read with h5py; no link out of a file is followed.

This module does not know what a column means.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.data.formats.arrays import (
    DAMAGE,
    Arrays,
    LeftOut,
    MissingFilter,
    Oversized,
    WrongChecksum,
    needing,
    words,
)
from guidedflow.files import DamagedFile

_BLOWN_UP = 2000
"""Larger than this many times its file is no column."""

_FILTERS = {
    307: "bzip2", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp", 32015: "zstd", 32017: "sz",
    32018: "fcidecomp", 32024: "sz3", 32026: "blosc2", 32028: "sperr",
}  # fmt: skip
"""The ways of compressing that the package hdf5plugin brings, by HDF5's numbers."""


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

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a column, without reading it."""
        return tuple(self.file[name].shape)

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
        settings = column.id.get_create_plist()
        filters = [settings.get_filter(index)[0] for index in range(settings.get_nfilters())]
        if not all(map(self._h5py.h5z.filter_avail, filters)):
            with contextlib.suppress(ImportError):
                import hdf5plugin  # noqa: F401  (which registers its filters)
        try:
            return np.asarray(column[()])
        except OSError as error:
            for number in filters:
                if not self._h5py.h5z.filter_avail(number):
                    raise MissingFilter(_missing(number)) from error
            if filters:  # which decompress, and compare checksums
                raise WrongChecksum(words(error)) from error
            raise

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


def _missing(number: int) -> str:
    """What to do about a way of compressing that is not installed here."""
    if number in _FILTERS:
        return f"a compression by {_FILTERS[number]} (filter {number}): install it by pip install hdf5plugin"
    return f"a compression by filter {number}, which nothing here knows: write the file again without it"
