"""A dataset on disk that may be larger than memory: a folder of memory-mapped columns, read by stretches of rows.

    manifest.json      name, source, fingerprint, sizes, types and ranges of the columns, actions outside the box
    COLUMN.npy         one for each column of `Dataset`
    ends.npy           the final row of each episode
    returns.npy        the undiscounted return of each episode

It is written in parts, so that nobody ever holds all of it, and its fingerprint is that of the same `Dataset` in
memory. Nothing is unpickled. This module does not know where a part is from, nor what is done with rows.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from guidedflow.data import box
from guidedflow.data.dataset import Dataset
from guidedflow.data.summary import episodes, spread
from guidedflow.errors import InputError
from guidedflow.files import reason, sync_folder, write_synced

MANIFEST = "manifest.json"
MARK = "guidedflow_data"  # its presence tells a manifest from any other JSON file
FORMAT = 1

_TYPES = {"observations": ("<f4", "|u1"), "last": ("|b1",), "ends": ("<i8",), "returns": ("<f8",)}
_STRETCH = 2**24  # bytes that are hashed at a time


@dataclass(frozen=True)
class Mapped:
    """An open folder. Columns are opened for each reading, so that what was read does not stay in memory."""

    path: Path
    manifest: Mapping[str, Any]
    name: str
    """Of the task, as for a `Dataset`."""
    clip_actions: bool = False
    """Clip actions that lie outside [-1, 1], where they are trained on."""

    @classmethod
    def open(cls, path: Path | str, name: str | None = None, clip_actions: bool = False) -> "Mapped":
        """The folder at `path`. Raises `InputError` where a file is missing, damaged or not as the manifest says."""
        path = Path(path).expanduser()
        manifest = _manifest(path)
        opened = cls(path, manifest, name or manifest["name"], clip_actions)
        for column in (*manifest["columns"], "ends", "returns"):
            opened.column(column)
        return opened

    def __len__(self) -> int:
        """Number of transitions."""
        return int(self.manifest["transitions"])

    def __repr__(self) -> str:
        return f"Mapped({str(self.path)!r}, {self.name!r}, episodes={self.episodes}, transitions={len(self)})"

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return int(self.manifest["episodes"])

    @property
    def fingerprint(self) -> str:
        """That of the `Dataset` in memory."""
        return str(self.manifest["fingerprint"])

    @cached_property
    def ends(self) -> Int64[np.ndarray, " episodes"]:
        """The final row of each episode."""
        return np.array(self.column("ends"))

    @cached_property
    def returns(self) -> Float64[np.ndarray, " episodes"]:
        """The undiscounted return of each episode."""
        return np.array(self.column("returns"))

    def __contains__(self, column: str) -> bool:
        return column in self.manifest["columns"]

    def rows(self, column: str, begin: int, stop: int) -> NDArray[Any]:
        """A copy of a stretch of rows."""
        return np.array(self.column(column)[begin:stop])

    def column(self, name: str) -> NDArray[Any]:
        """A column as a memory map: what is read of it is in memory as long as it lives."""
        path = self.path / f"{name}.npy"
        try:
            column = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            told = reason(error) if isinstance(error, OSError) else str(error)
            raise InputError(f"{path} must be a column of the dataset, found damage ({told}); convert again") from error
        expected = self._expected(name)
        found = (list(column.shape), column.dtype.str)
        if found != expected:
            raise InputError(f"{path} must have shape and type {expected} as {MANIFEST} says, found {found}")
        return column

    def read(self) -> Dataset:
        """All of it, in memory."""
        columns = {name: np.array(self.column(name)) for name in self.manifest["columns"]}
        return Dataset(name=self.name, **columns)

    def summary(self) -> dict[str, Any]:
        """What `summarize` tells of a dataset in memory, as far as the manifest and the episodes tell it."""
        told, outside = self.manifest["columns"], self.manifest["actions_outside"]
        ranges = {name: {end: entry[end] for end in ("least", "greatest")} for name, entry in told.items()}
        shape = told["observations"]["shape"][1:]
        of_actions = {"share_outside": outside["share"], "first_outside_row": outside["row"]}
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "source": self.manifest["source"],
            "episodes": self.episodes,
            "transitions": len(self),
            "observations": {"shape": shape, "type": told["observations"]["type"], **ranges["observations"]},
            "actions": {"size": told["actions"]["shape"][1], **ranges["actions"], **of_actions},
            "rewards": ranges["rewards"],
            "episode_lengths": spread(np.diff(self.ends, prepend=-1) - 1),
            "returns": spread(self.returns),
        }

    def _expected(self, name: str) -> tuple[list[int], str]:
        if name in ("ends", "returns"):
            return [self.episodes], _TYPES[name][0]
        entry = self.manifest["columns"][name]
        return entry["shape"], entry["type"]


def is_mapped(path: Path) -> bool:
    """Whether a folder is one of these."""
    return (path / MANIFEST).is_file()


def write(parts: Iterable[Dataset], path: Path, source: str) -> Path:
    """Write datasets, one after the other, as the folder `path`, complete or not at all.

    Only one part at a time is asked for. Raises `InputError` for parts of different shapes, and where the disk refuses.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
        with _Writer(beside) as writer:
            for part in parts:
                writer.append(part)
                del part  # before the next one is made
            manifest = writer.finish()
        manifest = {MARK: FORMAT, **manifest, "source": source}
        manifest["fingerprint"] = _fingerprint(beside, manifest["columns"])
        write_synced(beside / MANIFEST, (json.dumps(manifest, indent=2, allow_nan=False) + "\n").encode())
        sync_folder(beside)
        os.replace(beside, path)
        sync_folder(path.parent)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {reason(error)}; nothing half-written is left") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return path


class _Writer:
    """Columns that grow by parts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._columns: dict[str, _Growing] = {}
        self._name: str | None = None
        self._rows = 0
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
        share, row = box.outside(part)
        numbers = len(part) * part.actions.shape[1]
        if share and row is not None:
            largest = max(self._outside["largest"], box.largest(part))
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
        if counted.size:
            self.least = min(self.least, float(counted.min()))
            self.greatest = max(self.greatest, float(counted.max()))

    def finish(self) -> None:
        self._file.seek(0)
        self._header()
        self._file.flush()
        os.fsync(self._file.fileno())

    def told(self) -> dict[str, Any]:
        shape = [self.rows, *self.shape]
        least, greatest = (self.least, self.greatest) if self.least <= self.greatest else (None, None)
        return {"shape": shape, "type": self.dtype.str, "least": least, "greatest": greatest}

    def _header(self) -> None:
        header = {"shape": (self.rows, *self.shape), "fortran_order": False, "descr": self.dtype.str}
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


def _manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        manifest = json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(f"{path} is not a converted dataset: {MANIFEST} cannot be read: {reason(error)}") from error
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not a converted dataset: its {MANIFEST} is not JSON") from None
    if not isinstance(manifest, dict) or MARK not in manifest:
        raise InputError(f"{path} is not a converted dataset: its {MANIFEST} has no entry {MARK!r}")
    if manifest[MARK] != FORMAT:
        raise InputError(f"{file} has format {manifest[MARK]!r}; this version of guidedflow reads {FORMAT}")
    if not _is_whole(manifest):
        raise InputError(f"{file} must tell name, sizes, types and fingerprint of a dataset; convert it again")
    return manifest


def _is_whole(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest tells all that is asked of it, of columns that there are."""
    try:
        columns = manifest["columns"]
        known = {"observations", "actions", "rewards", "masks", "last"}
        return (
            known <= columns.keys() <= known | {"weights"}
            and all(told["type"] in _TYPES.get(name, ("<f4",)) for name, told in columns.items())
            and {told["shape"][0] for told in columns.values()} == {manifest["transitions"] + manifest["episodes"]}
            and all({"least", "greatest"} <= told.keys() for told in columns.values())
            and isinstance(manifest["name"], str)
            and isinstance(manifest["source"], str)
            and isinstance(manifest["fingerprint"], str)
            and {"share", "row", "largest"} <= manifest["actions_outside"].keys()
        )
    except (KeyError, TypeError, AttributeError, IndexError):
        return False
