"""Where LeRobot's folders keep their files, as their metadata say: formats v2.x and v3.0.

    v2.0, v2.1    a Parquet file and a video an episode; meta/episodes.jsonl lists the episodes
    v3.0          files of many episodes; meta/episodes/*.parquet says which file holds which, and from when to when

`meta/info.json` says which format it is, how files are named, and the frames a second. This module does not know what
is in a column.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guidedflow.data.formats.tables import ParquetArrays
from guidedflow.errors import InputError
from guidedflow.files import read_json, reason

VERSIONS = ("v2.", "v3.")
"""What the names of the formats that are read begin with."""

READ = "v2.0, v2.1 or v3.0"
"""The formats that are read, in words."""

_FIELD = re.compile(r"\{(\w+)(?::0?(\d+)d?)?\}")

Info = Mapping[str, Any]
"""What `meta/info.json` says."""


class OutsideFolder(InputError):
    """Metadata that name a file outside their folder."""


class Clip(NamedTuple):
    """The film of an episode: in which file, and from when to when, in seconds."""

    path: Path
    begin: float
    end: float


def is_lerobot(folder: Path) -> bool:
    """Whether a folder is one of LeRobot's."""
    return (folder / "meta" / "info.json").is_file()


def info_of(folder: Path) -> dict[str, Any]:
    """What `meta/info.json` says."""
    return read_json(folder / "meta" / "info.json")


def is_known(info: Info) -> bool:
    """Whether a folder is of a format that is read here."""
    return str(info.get("codebase_version")).startswith(VERSIONS)


class Listing:
    """What a folder's metadata say of its episodes, in the order of their numbers.

    Raises `InputError` where nothing lists the episodes, or what lists them is damaged.
    """

    def __init__(self, folder: Path, info: Info) -> None:
        self.folder, self.info = folder, info
        self._by_episode = str(info.get("codebase_version")).startswith("v2.")
        self._columns = _lines(folder) if self._by_episode else {}
        if not self._by_episode:
            parts = sorted((folder / "meta" / "episodes").glob("chunk-*/file-*.parquet"))
            if not parts:
                raise InputError(f"{folder}/meta/episodes must hold Parquet files that list the episodes, found none")
            with ParquetArrays(folder / "meta" / "episodes", parts) as listed:
                wanted = [name for name in listed.names if name.startswith(("data/", "videos/"))]
                needed = ("episode_index", "data/chunk_index", "data/file_index")
                self._columns = {name: listed.read(name) for name in dict.fromkeys((*needed, *wanted))}
        self._order = np.argsort(self._columns["episode_index"], kind="stable")
        self.episodes: NDArray[np.int64] = self._columns["episode_index"][self._order].astype(np.int64)
        """Their numbers."""

    def files(self) -> list[dict[str, int]]:
        """What the name of each data file is made of, in the order of the episodes."""
        found = [self._numbers("data", place) for place in range(len(self.episodes))]
        return [dict(numbers) for numbers in dict.fromkeys(tuple(numbers.items()) for numbers in found)]

    def clip(self, video: str, episode: int) -> Clip:
        """Where the film of an episode lies. Raises `InputError` where the metadata do not say, or no file is there."""
        template = self.info.get("video_path")
        if not isinstance(template, str):
            raise InputError(
                f"{self.folder}/meta/info.json must say video_path, how its videos are named, found {template!r}"
            )
        place = int(np.searchsorted(self.episodes, episode))
        if place == len(self.episodes) or self.episodes[place] != episode:
            raise InputError(f"{self.folder}/meta must list each episode, found none with the number {episode}")
        numbers = self._numbers(f"videos/{video}", place) | {"video_key": video}
        path = part(self.folder, template, numbers, "video_path")
        if self._by_episode:
            return Clip(path, 0.0, math.inf)
        begin, end = (float(self._column(f"videos/{video}/{end}_timestamp")[place]) for end in ("from", "to"))
        if not 0 <= begin < end < math.inf:
            raise InputError(
                f"{self.folder}/meta/episodes must say from when to when episode {episode} is shown, found {begin} s "
                f"to {end} s for {video!r}"
            )
        return Clip(path, begin, end)

    def _numbers(self, prefix: str, place: int) -> dict[str, Any]:
        """What the name of an episode's file is made of."""
        if self._by_episode:
            episode, size = int(self.episodes[place]), self.info.get("chunks_size", 1000)
            if not isinstance(size, int) or size < 1:
                raise InputError(f"{self.folder}/meta/info.json: chunks_size must be a whole number, found {size!r}")
            return {"episode_chunk": episode // size, "episode_index": episode}
        return {f"{kind}_index": int(self._column(f"{prefix}/{kind}_index")[place]) for kind in ("chunk", "file")}

    def _column(self, name: str) -> NDArray[Any]:
        if name not in self._columns:
            raise InputError(
                f"{self.folder}/meta/episodes must have the column {name!r}, found {', '.join(self._columns)}"
            )
        return self._columns[name][self._order]


def _lines(folder: Path) -> dict[str, NDArray[Any]]:
    """The numbers of the episodes that `meta/episodes.jsonl` lists, a line each."""
    path = folder / "meta" / "episodes.jsonl"
    try:
        numbers = [json.loads(line)["episode_index"] for line in path.read_text(encoding="utf-8").splitlines() if line]
        episodes = np.array(numbers, np.int64)
    except OSError as error:
        raise InputError(f"{path} must list the episodes, but cannot be read: {reason(error)}") from error
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(f"{path} must tell an episode_index in each line, found damage ({error!r})") from error
    if not numbers:
        raise InputError(f"{path} must list the episodes, found none")
    return {"episode_index": episodes}


def part(folder: Path, template: str, numbers: Mapping[str, Any], told_by: str = "data_path") -> Path:
    """The path of a file, whose name must lead into the folder; what lies there may be a link to elsewhere.

    Raises `OutsideFolder` for another name, and `InputError` for a file that is not there.
    """

    def filled(field: re.Match[str]) -> str:
        value = numbers.get(field[1])
        if value is None:
            raise InputError(f"{folder}/meta/info.json: {told_by} names {field[0]}, which this format does not have")
        return value if isinstance(value, str) else f"{value:0{int(field[2] or 1)}d}"

    name = _FIELD.sub(filled, template)
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise OutsideFolder(f"{folder}/meta/info.json must name files inside its folder, found {told_by} {template!r}")
    if not path.is_file():
        raise InputError(f"{path} must be there, since meta/episodes lists it; the dataset is incomplete")
    return path
