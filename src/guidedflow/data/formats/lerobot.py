"""LeRobot's folders of the third format, state data alone: Parquet files of many episodes, read with pyarrow.

`meta/info.json` says which format it is and how files are named, `meta/episodes` which file holds which episode. A row
is a step: `observation.state`, `observation.environment_state`, `action`, `next.reward`, `next.success`,
`episode_index`. Episodes end where `episode_index` changes, and at each step with `next.success`. `next.done` marks
every episode's end, solved or cut off, so masks come from `next.success` where it is recorded, and have to be told
where it is not. Videos are left alone; the lerobot package is not needed. This module does not know what is learned.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from guidedflow.data.formats.arrays import Arrays, ParquetArrays
from guidedflow.data.formats.columns import Columns, Roles
from guidedflow.errors import InputError
from guidedflow.files import read_json

VERSIONS = ("v3.",)

_FIELD = re.compile(r"\{(chunk_index|file_index)(?::0?(\d+)d?)?\}")


class OutsideFolder(InputError):
    """Metadata that name a file outside their folder."""


def is_lerobot(folder: Path) -> bool:
    """Whether a folder is one of LeRobot's."""
    return (folder / "meta" / "info.json").is_file()


def open_lerobot(folder: Path) -> Arrays:
    """The columns of all episodes in their order. Raises `InputError` for another version and for missing files."""
    info = info_of(folder)
    version = str(info.get("codebase_version"))
    if not version.startswith(VERSIONS):
        raise InputError(f"{folder} must be of LeRobot's format v3.0, found {version}; convert it with LeRobot's tools")
    template = info.get("data_path")
    if not isinstance(template, str):
        raise InputError(f"{folder}/meta/info.json must say data_path, how its files are named, found {template!r}")
    return ParquetArrays(folder, [part(folder, template, chunk, file) for chunk, file in listing(folder)])


def roles(file: Arrays, task: str, told: Columns) -> Roles:
    """What the names say that were told, and LeRobot's own where these say nothing."""
    seen = [name for name in ("observation.state", "observation.environment_state") if name in file]
    usual = Columns(
        observations="+".join(seen) or None,
        actions="action" if "action" in file else None,
        rewards="next.reward" if "next.reward" in file else None,
        terminals="next.success" if "next.success" in file else None,
        episodes="episode_index",
    )
    return Roles(told.over(usual))


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
    """The path of a data file, which must lie inside the folder."""
    number = {"chunk_index": chunk, "file_index": file}
    name = _FIELD.sub(lambda field: f"{number[field[1]]:0{int(field[2] or 1)}d}", template)
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise OutsideFolder(f"{folder}/meta/info.json must name files inside its folder, found data_path {template!r}")
    if not path.is_file():
        raise InputError(f"{path} must be there, since meta/episodes lists it; the dataset is incomplete")
    return path
