"""Datasets written as a folder of memory-mapped columns, part by part, so that nobody ever holds all of it.

A column is a `.npy` file that grows; the folder is written beside its place, synced and renamed. This module does not
know where a part is from, nor how the folder is read.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.data.dataset import Dataset
from guidedflow.data.ondisk.mapped import FORMAT, MANIFEST, MARK
from guidedflow.data.summary import episodes
from guidedflow.errors import InputError
from guidedflow.files import replacing, write_synced
from guidedflow.packing import type_of, unpacked

_STRETCH = 2**24  # bytes that are hashed at a time


def write(parts: Iterable[Dataset], path: Path, source: str) -> Path:
    """Write datasets, one after the other, as the folder `path`, complete or not at all.

    Only one part at a time is asked for. Raises `InputError` for parts of different shapes, and where the disk refuses.
    """
    with replacing(path) as beside:
        beside.mkdir()
        with _Writer(beside) as writer:
            for part in parts:
                writer.append(part)
                del part  # before the next one is made
            manifest = writer.finish()
        manifest = {MARK: FORMAT, **manifest, "source": source}
        manifest["fingerprint"] = _fingerprint(beside, manifest["columns"])
        write_synced(beside / MANIFEST, (json.dumps(manifest, indent=2, allow_nan=False) + "\n").encode())
    return path


class _Writer:
    """Columns that grow by parts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._columns: dict[str, _Growing] = {}
        self._name: str | None = None
        self._rows = 0
        self._low, self._high = (
            np.array(np.inf),
            np.array(-np.inf),
        )  # of each dimension of the actions, once there are any
        self._outside: dict[str, Any] = {"share": 0.0, "row": None, "largest": 0.0}

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def append(self, part: Dataset) -> None:
        """Write the rows of a part behind the others."""
        columns = {name: column for name, column in vars(part).items() if isinstance(column, np.ndarray)}
        own = columns | {"ends": self._rows + np.flatnonzero(part.last), "returns": episodes(part)[1]}
        if self._name is None:
            self._name = part.name
            for name, column in own.items():
                self._columns[name] = _Growing(self._stack, self.folder / f"{name}.npy", column)
        if own.keys() != self._columns.keys():
            raise InputError(f"{part.name}: parts must have the same columns, found {', '.join(own)}")
        for name, column in own.items():
            self._columns[name].append(column, part.last if name in ("actions", "rewards", "masks") else None)
        counted = part.actions[~part.last]
        self._low = np.minimum(self._low, counted.min(axis=0, initial=np.inf))
        self._high = np.maximum(self._high, counted.max(axis=0, initial=-np.inf))
        share, row, largest = part.actions_outside
        numbers = len(part) * part.actions.shape[1]
        if share and row is not None:
            largest = max(self._outside["largest"], largest)
            first = self._rows + row if self._outside["row"] is None else self._outside["row"]
            self._outside = {"share": self._outside["share"] + share * numbers, "row": first, "largest": largest}
        self._rows += len(part.last)

    def finish(self) -> dict[str, Any]:
        """Complete the files, and tell what the manifest says of them."""
        if self._name is None:
            raise InputError(f"there is nothing to write into {self.folder.name}: no part has any row")
        for column in self._columns.values():
            column.finish()
        episodes = self._columns["ends"].rows
        transitions = self._rows - episodes
        numbers = transitions * self._columns["actions"].shape[0]
        return {
            "name": self._name,
            "transitions": transitions,
            "episodes": episodes,
            "columns": {n: c.told() for n, c in self._columns.items() if n not in ("ends", "returns")},
            "action_range": {"low": self._low.tolist(), "high": self._high.tolist()} if transitions else None,
            "actions_outside": self._outside | {"share": self._outside["share"] / numbers if numbers else 0.0},
        }


class _Growing:
    """An npy file whose number of rows is known at the end; its header has room for any."""

    def __init__(self, stack: ExitStack, path: Path, like: NDArray[Any]) -> None:
        self.path, self.shape, self.dtype, self.rows = path, like.shape[1:], like.dtype, 0
        self.least, self.greatest = np.inf, -np.inf
        self._file: IO[bytes] = stack.enter_context(path.open("wb"))
        self._header()

    def append(self, column: NDArray[Any], last: NDArray[np.bool_] | None) -> None:
        """More rows; where `last` is told, final rows do not count in the range."""
        if (column.shape[1:], column.dtype) != (self.shape, self.dtype):
            raise InputError(
                f"{self.path.stem}: parts must have rows of shape {self.shape} and type {self.dtype} as the first has, "
                f"found {column.shape[1:]} and {column.dtype}"
            )
        np.ascontiguousarray(column).tofile(self._file)
        self.rows += len(column)
        counted = column if last is None else column[~last]
        for part in unpacked(counted).values():
            if part.size:
                self.least = min(self.least, float(part.min()))
                self.greatest = max(self.greatest, float(part.max()))

    def finish(self) -> None:
        self._file.seek(0)
        self._header()
        self._file.flush()
        os.fsync(self._file.fileno())

    def told(self) -> dict[str, Any]:
        shape = [self.rows, *self.shape]
        least, greatest = (self.least, self.greatest) if self.least <= self.greatest else (None, None)
        return {"shape": shape, "type": type_of(self.dtype), "least": least, "greatest": greatest}

    def _header(self) -> None:
        header = {
            "shape": (self.rows, *self.shape),
            "fortran_order": False,
            "descr": np.lib.format.dtype_to_descr(self.dtype),
        }
        np.lib.format.write_array_header_1_0(self._file, header)


def _fingerprint(folder: Path, columns: Mapping[str, Any]) -> str:
    """As `Dataset.fingerprint`, a stretch at a time."""
    digest = hashlib.sha256()
    for name, told in columns.items():
        digest.update(f"{name} {told['type']} {tuple(told['shape'])}\n".encode())
        for stretch in _stretches(folder / f"{name}.npy"):
            digest.update(stretch)
    return digest.hexdigest()


def _stretches(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        while stretch := file.read(_STRETCH):
            yield stretch
