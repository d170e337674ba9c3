"""LeRobot's folders of formats v2.x and v3.0: Parquet files of steps, read with pyarrow, and films, decoded by PyAV.

A row is a step: `observation.state`, `observation.environment_state`, `action`, `next.reward`, `next.success`,
`episode_index`. Episodes end where `episode_index` changes, and at each step with `next.success`. `next.done` marks
every episode's end, solved or cut off, so masks come from `next.success` where it is recorded, and have to be told
where it is not. A film is a column of images that is decoded only when it is read. The lerobot package is not needed.
This module does not know what is learned.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.data.formats.arrays import Arrays
from guidedflow.data.formats.lerobot_films import Episode, Films
from guidedflow.data.formats.lerobot_layout import READ, Listing, info_of, is_known, is_lerobot, part
from guidedflow.data.formats.tables import ParquetArrays
from guidedflow.errors import InputError

__all__ = ["LeRobotArrays", "is_lerobot", "open_lerobot"]

PIECE = 2**28
"""Bytes of decoded images in a piece of a folder, if its episodes are no longer."""


class LeRobotArrays(ParquetArrays):
    """The data files of a folder, end to end, in the order of their `index`; LeRobot's own names tell what is what."""

    def __init__(self, path: Path, parts: list[Path], films: Films) -> None:
        super().__init__(path, parts)
        self._films, self.left_out = films, films.left_out
        seen = [name for name in ("observation.state", "observation.environment_state") if name in self]
        usual = {
            "observations": "+".join(seen),
            "actions": "action" if "action" in self else "",
            "rewards": "next.reward" if "next.reward" in self else "",
            "terminals": "next.success" if "next.success" in self else "",
            "episodes": "episode_index",
        }
        self.usual = {role: name for role, name in usual.items() if name}

    @property
    def names(self) -> list[str]:
        stored = super().names
        return [*stored, *(name for name in self._films.names if name not in stored)]

    def glimpse(self, name: str) -> tuple[tuple[int, ...], NDArray[Any]]:
        if name not in self._films:
            return super().glimpse(name)
        first = self._films.first(name, self._episodes[0])
        return (self._episodes[-1].stop, *(self.image_size or first.shape[:2]), first.shape[2]), first

    def pieces(self, names: Sequence[str]) -> Iterator[Arrays] | None:
        films = [name for name in names if name in self._films]
        return self._pieces(films) if films else None

    def rows(self, name: str, rows: slice, size: tuple[int, int] | None) -> NDArray[Any]:
        """Some rows of a column, which are whole episodes; the images of a film at a size."""
        if name not in self._films:
            return self.peek(name)[rows]
        held = [episode for episode in self._episodes if rows.start <= episode.start < rows.stop]
        return self._films.read(name, held, self._times[rows], size)

    def _pieces(self, films: Sequence[str]) -> Iterator[Arrays]:
        """Whole episodes of about `PIECE` bytes of images; other columns are read once and kept."""
        self.keep()
        begin, size = 0, 0
        row = sum(int(np.prod(self.glimpse(name)[0][1:])) for name in films)
        for _, start, stop in self._episodes:
            size += (stop - start) * row
            if size >= PIECE or stop == self._episodes[-1].stop:
                yield _Piece(self, slice(begin, stop))
                begin, size = stop, 0

    def _read(self, name: str) -> NDArray[Any]:
        if name in self._films:
            return self.rows(name, slice(0, self._episodes[-1].stop), self.image_size)
        column = super()._read(name)
        return column if self._order is None else column[self._order]

    @cached_property
    def _episodes(self) -> list[Episode]:
        """The rows of each episode, in their order."""
        numbers = self.read("episode_index")
        starts = [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist()]
        return [Episode(int(numbers[i]), i, j) for i, j in zip(starts, [*starts[1:], len(numbers)], strict=True)]

    @cached_property
    def _times(self) -> NDArray[np.float64]:
        """When each row was, in seconds from the beginning of its episode."""
        if "timestamp" in self:
            return self.read("timestamp").astype(np.float64).reshape(-1)
        return np.concatenate([np.arange(stop - start) / self._films.fps for _, start, stop in self._episodes])

    @cached_property
    def _order(self) -> NDArray[np.intp] | None:
        """The order of rows; None for the one in which they lie. Raises `ColumnError` for rows that have no order."""
        if "index" not in self and "frame_index" not in self:
            return None
        read = super()._read
        key = ("index",) if "index" in self else ("frame_index", "episode_index")
        order = np.lexsort([read(name) for name in key])
        if (twice := np.flatnonzero(_repeats([read(name)[order] for name in key]))).size:
            row = int(order[twice[0] + 1])
            raise self.complaint(key[0], "tell each row apart", f"one that is there twice, again in row {row}")
        if "frame_index" in self:
            frames, episodes = read("frame_index")[order], read("episode_index")[order]
            follows = (frames[1:] == frames[:-1] + 1) | (episodes[1:] != episodes[:-1])
            if not follows.all():
                row = int(np.argmin(follows))
                found = f"{frames[row + 1]} after {frames[row]} in episode {episodes[row]}"
                raise self.complaint("frame_index", "count the steps of an episode without a gap", found)
        return None if (order[1:] > order[:-1]).all() else order


class _Piece(Arrays):
    """Some whole episodes of an open folder, which stays open."""

    format = "parquet"

    def __init__(self, whole: LeRobotArrays, rows: slice) -> None:
        super().__init__(whole.path)
        self._whole, self._rows = whole, rows
        self.left_out, self.usual = whole.left_out, whole.usual

    @property
    def names(self) -> list[str]:
        return self._whole.names

    def _read(self, name: str) -> NDArray[Any]:
        return self._whole.rows(name, self._rows, self.image_size)

    def close(self) -> None:
        pass


def open_lerobot(folder: Path) -> LeRobotArrays:
    """The columns of all episodes in their order. Raises `InputError` for another version and for missing files."""
    info = info_of(folder)
    if not is_known(info):
        found = info.get("codebase_version")
        raise InputError(f"{folder} must be of LeRobot's format {READ}, found {found}; convert it with LeRobot's tools")
    template = info.get("data_path")
    if not isinstance(template, str):
        raise InputError(f"{folder}/meta/info.json must say data_path, how its files are named, found {template!r}")
    listing = Listing(folder, info)
    parts = [part(folder, template, numbers) for numbers in listing.files()]
    return LeRobotArrays(folder, parts, Films(folder, info, listing))


def _repeats(keys: list[NDArray[Any]]) -> NDArray[np.bool_]:
    """Where a sorted row has the keys of the one before it."""
    return np.logical_and.reduce([key[1:] == key[:-1] for key in keys])
