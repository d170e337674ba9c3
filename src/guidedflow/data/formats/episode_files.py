"""Episodes that are each a file or a group of their own, end to end: a folder of files, or robomimic's HDF5.

    a folder        one file an episode, npz, HDF5, Parquet or CSV, in the order of the numbers in their names
    robomimic       groups data/demo_0, data/demo_1, ... of one HDF5 file (Mandlekar et al., arXiv 2108.03298): each has
                    actions, rewards, dones, obs/NAME and mostly next_obs/NAME

All episodes have the same columns, and the column `episode_index` tells which episode a row is of. In robomimic's files
rewards and actions need no names, nor do observations, which are all columns of numbers in obs/. Its dones are 1 at an
episode's end, solved or cut off, so what ended the task has to be told. This module does not know what is learned.
"""

import re
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.data.formats.arrays import Arrays
from guidedflow.data.formats.hdf5 import Hdf5Arrays
from guidedflow.errors import InputError

NUMBER = "episode_index"
"""The column that tells episodes apart."""

_DEMONSTRATION = re.compile(r"data/(demo_\d+)/(.+)")


class EpisodeArrays(Arrays):
    """Episodes end to end, each opened when it is read."""

    usual = {"episodes": NUMBER}  # noqa: RUF012

    def __init__(self, path: Path, episodes: Sequence[Callable[[], Arrays]], format: str) -> None:
        super().__init__(path)
        self.format, self._episodes = format, episodes
        with episodes[0]() as first:
            self._names, self.left_out = first.names, first.left_out

    @property
    def names(self) -> list[str]:
        return [*self._names, NUMBER]

    def _read(self, name: str) -> NDArray[Any]:
        if name == NUMBER:
            return np.repeat(np.arange(len(self._episodes)), self._lengths)
        columns = []
        for number, episode in enumerate(self._episodes):
            try:
                with episode() as file:
                    columns.append(file.peek(name))
            except InputError as error:
                raise self.complaint(name, "be readable in each episode", f"{error}", "damaged") from error
            if columns[-1].shape[1:] != columns[0].shape[1:]:
                found = f"{columns[-1].shape[1:]} in episode {number}"
                raise self.complaint(name, f"have rows of the shape {columns[0].shape[1:]} as the first has", found)
        return np.concatenate(columns)

    @cached_property
    def _lengths(self) -> list[int]:
        """Rows of each episode: those of its actions, or of its first column."""
        measure = next((name for name in self._names if name.rpartition("/")[2] in ("actions", "action")), None)
        lengths = []
        for episode in self._episodes:
            with episode() as file:
                lengths.append(len(file.peek(measure or file.names[0])))
        return lengths

    def close(self) -> None:
        pass


def episode_files(folder: Path, open_file: Callable[[Path], Arrays], suffixes: Sequence[str]) -> EpisodeArrays:
    """The files of a folder, an episode each. Raises `InputError` where there are none, or of several formats."""
    listed = [path for path in folder.iterdir() if path.suffix in suffixes and not path.name.startswith(".")]
    paths = sorted(listed, key=lambda path: natural(path.name))
    kinds = sorted({path.suffix for path in paths})
    if len(kinds) != 1:
        found = f"files of {' and '.join(kinds)}" if kinds else "none"
        raise InputError(
            f"{folder} must hold one file an episode, all ending in one of {', '.join(suffixes)}; found {found}"
        )
    return EpisodeArrays(folder, [partial(open_file, path) for path in paths], f"{kinds[0][1:]} files")


class _Demonstration(Arrays):
    """One group of an open file; the file stays open."""

    format = "hdf5"

    def __init__(self, file: Hdf5Arrays, group: str, names: list[str]) -> None:
        super().__init__(file.path)
        self._file, self._group, self._names = file, group, names

    @property
    def names(self) -> list[str]:
        return self._names

    def _read(self, name: str) -> NDArray[Any]:
        return self._file.peek(f"data/{self._group}/{name}")

    def close(self) -> None:
        pass


class RobomimicArrays(EpisodeArrays):
    """The demonstrations of one of robomimic's files."""

    def __init__(self, path: Path) -> None:
        self._file = Hdf5Arrays(path)
        groups: dict[str, list[str]] = {}
        for name in self._file.names:
            if match := _DEMONSTRATION.fullmatch(name):
                groups.setdefault(match[1], []).append(match[2])
        order = sorted(groups, key=natural)
        made = [partial(_Demonstration, self._file, group, groups[group]) for group in order]
        super().__init__(path, made, "robomimic")
        seen = [name for name in self._names if name.startswith("obs/") and self._is_vector(order[0], name)]
        then = [f"next_{name}" for name in seen]
        self.usual = {
            "episodes": NUMBER,
            **({"observations": "+".join(seen)} if seen else {}),
            **({"next_observations": "+".join(then)} if seen and set(then) <= set(self._names) else {}),
            **{role: role for role in ("actions", "rewards") if role in self._names},
        }

    def _is_vector(self, group: str, name: str) -> bool:
        return len(self._file.shape(f"data/{group}/{name}")) <= 2

    def close(self) -> None:
        self._file.close()


def is_robomimic(path: Path) -> bool:
    """Whether a file is one of robomimic's."""
    try:
        with path.open("rb") as file:
            if file.read(4) != b"\x89HDF":
                return False
        with Hdf5Arrays(path) as opened:
            return any(_DEMONSTRATION.fullmatch(name) for name in opened.names)
    except (OSError, InputError):  # told when it is read
        return False


def natural(name: str) -> list[Any]:
    """A key that sorts names by the numbers in them: demo_2 comes before demo_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
