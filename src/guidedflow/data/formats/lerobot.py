"""LeRobot's folders of the third format, state data alone: Parquet files of many episodes, read with pyarrow.

`meta/info.json` says which format it is and how files are named, `meta/episodes` which file holds which episode. A row
is a step: `observation.state`, `observation.environment_state`, `action`, `next.reward`, `next.success`,
`episode_index`. Episodes end where `episode_index` changes, and at each step with `next.success`. `next.done` marks
every episode's end, solved or cut off, so masks come from `next.success` where it is recorded, and have to be told
where it is not. Videos are left alone; the lerobot package is not needed. This module does not know what is learned.
"""

import re
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow.data.formats.arrays import LeftOut
from guidedflow.data.formats.tables import ParquetArrays
from guidedflow.errors import InputError
from guidedflow.files import read_json

VERSIONS = ("v3.",)

_FIELD = re.compile(r"\{(chunk_index|file_index)(?::0?(\d+)d?)?\}")


class OutsideFolder(InputError):
    """Metadata that name a file outside their folder."""


def is_lerobot(folder: Path) -> bool:
    """Whether a folder is one of LeRobot's."""
    return (folder / "meta" / "info.json").is_file()


class LeRobotArrays(ParquetArrays):
    """The data files of a folder, end to end, in the order of their `index`; LeRobot's own names tell what is what."""

    def __init__(self, path: Path, parts: list[Path], features: Any = None) -> None:
        super().__init__(path, parts)
        videos = features if isinstance(features, dict) else {}
        self.left_out = {
            name: LeftOut("foreign-member", "a video (record or export the camera as images in Parquet)")
            for name, told in videos.items()
            if isinstance(told, dict) and told.get("dtype") == "video"
        }
        seen = [name for name in ("observation.state", "observation.environment_state") if name in self]
        told = {
            "observations": "+".join(seen),
            "actions": "action" if "action" in self else "",
            "rewards": "next.reward" if "next.reward" in self else "",
            "terminals": "next.success" if "next.success" in self else "",
            "episodes": "episode_index",
        }
        self.usual = {role: name for role, name in told.items() if name}

    def _read(self, name: str) -> NDArray[Any]:
        column = super()._read(name)
        return column if self._order is None else column[self._order]

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


def _repeats(keys: list[NDArray[Any]]) -> NDArray[np.bool_]:
    """Where a sorted row has the keys of the one before it."""
    return np.logical_and.reduce([key[1:] == key[:-1] for key in keys])


def open_lerobot(folder: Path) -> LeRobotArrays:
    """The columns of all episodes in their order. Raises `InputError` for another version and for missing files."""
    info = info_of(folder)
    version = str(info.get("codebase_version"))
    if not version.startswith(VERSIONS):
        raise InputError(f"{folder} must be of LeRobot's format v3.0, found {version}; convert it with LeRobot's tools")
    template = info.get("data_path")
    if not isinstance(template, str):
        raise InputError(f"{folder}/meta/info.json must say data_path, how its files are named, found {template!r}")
    parts = [part(folder, template, chunk, file) for chunk, file in listing(folder)]
    return LeRobotArrays(folder, parts, info.get("features"))


def info_of(folder: Path) -> dict[str, Any]:
    """What `meta/info.json` says."""
    return read_json(folder / "meta" / "info.json")


def listing(folder: Path) -> list[tuple[int, int]]:
    """Chunk and file number of each data file, in the order of the episodes."""
    parts = sorted((folder / "meta" / "episodes").glob("chunk-*/file-*.parquet"))
    if not parts:
        raise InputError(f"{folder}/meta/episodes must hold Parquet files that list the episodes, found none")
    with ParquetArrays(folder / "meta" / "episodes", parts) as episodes:
        columns = [episodes.read(name) for name in ("episode_index", "data/chunk_index", "data/file_index")]
    order = np.argsort(columns[0], kind="stable")
    return list(dict.fromkeys((int(columns[1][i]), int(columns[2][i])) for i in order))


def part(folder: Path, template: str, chunk: int, file: int) -> Path:
    """The path of a data file, whose name must lead into the folder; what lies there may be a link to elsewhere.

    Raises `OutsideFolder` for another name, and `InputError` for a file that is not there.
    """
    number = {"chunk_index": chunk, "file_index": file}
    name = _FIELD.sub(lambda field: f"{number[field[1]]:0{int(field[2] or 1)}d}", template)
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise OutsideFolder(f"{folder}/meta/info.json must name files inside its folder, found data_path {template!r}")
    if not path.is_file():
        raise InputError(f"{path} must be there, since meta/episodes lists it; the dataset is incomplete")
    return path
