"""A dataset by the name of its task, or by its file: which source it is from, and its actions in the box.

    what the data is                                       read by
    a file whose columns are named, now or beside it       columns
    a folder of LeRobot's                                  lerobot, columns
    a folder of Minari's, or the name of one               minari
    a task of OGBench or of D4RL                           ogbench, d4rl
    another HDF5 file in D4RL's layout                     d4rl

This module does not know what is in a file: each source has a loader of its own.
"""

from pathlib import Path
from typing import Literal

from guidedflow import environments
from guidedflow.data import box, d4rl, lerobot, minari, ogbench
from guidedflow.data import columns as mapping
from guidedflow.data.arrays import open_arrays
from guidedflow.data.columns import Columns
from guidedflow.data.dataset import Dataset
from guidedflow.errors import InputError

Source = Literal["ogbench", "d4rl", "minari", "own"]


def load_dataset(
    task: str, path: Path | str | None = None, *, columns: Columns | None = None, clip_actions: bool = False
) -> Dataset:
    """The training data of a task, from its suite's own folder or from `path`, with its actions in [-1, 1].

    `columns` tells which column is what in a file of your own; a task without a simulator may have any name. Raises
    `InputError` for an unknown task, for a file that is missing, damaged or of another environment, and for actions
    outside [-1, 1], unless `clip_actions`.
    """
    return box.inside(read_dataset(task, path, columns=columns), clip_actions)


def read_dataset(
    task: str, path: Path | str | None = None, *, columns: Columns | None = None, source: Source | None = None
) -> Dataset:
    """The same with actions as they were recorded (OGBench's are in the box); `source` says which one it is."""
    place = None if path is None else Path(path).expanduser()
    source = source or source_of(task, place, columns)
    if source == "own":
        return _own(task, place, columns)
    if columns is not None:
        raise InputError(f"--columns names columns of a file of your own, but {task!r} is read as {source} data")
    if source == "minari":
        return minari.load(task, place)
    if source == "ogbench":
        return ogbench.load(task, place)
    if environments.known(task) or place is None:
        return d4rl.load(task, place)
    with open_arrays(place) as file:
        return d4rl.read(file, task, antmaze=task.startswith("antmaze"))


def named(task: str, path: Path | None = None) -> tuple[str, Path | None]:
    """Task and file, where the task may be given as the path of a file or folder, whose name it then has."""
    if path is None and not environments.known(task) and (place := Path(task).expanduser()).exists():
        return place.name.removesuffix(place.suffix) if place.is_file() else place.resolve().name, place
    return task, path


def source_of(task: str, place: Path | None, given: Columns | None) -> Source:
    """Which source the data is from. Raises `InputError` where that cannot be told."""
    if given is not None:
        return "own"
    if place is not None and (mapping.kept(place) is not None or lerobot.is_lerobot(place)):
        return "own"
    if place is not None and minari.is_minari(place):
        return "minari"
    if environments.known(task):
        suite = environments.parse(task).suite
        return "minari" if suite == "minari" else "d4rl" if suite == "d4rl" else "ogbench"
    if place is None:
        if minari.is_minari(minari.folder() / task):
            return "minari"
        environments.parse(task)  # raises
    assert place is not None
    with open_arrays(place) as file:
        if file.format == "hdf5" and all(key in file for key in d4rl.COLUMNS) and "timeouts" in file:
            return "d4rl"
        raise InputError(
            f"{place} has the columns {', '.join(file.names[:30])}: say which is what by --columns "
            f"observations=NAME actions=NAME rewards=NAME terminals=NAME ends=NAME, or by --task which suite's task it "
            f"is, since {task!r} is none"
        )


def _own(task: str, place: Path | None, given: Columns | None) -> Dataset:
    if place is None:
        raise InputError(f"data of your own for task {task!r} needs a file: name it by --dataset FILE")
    told = given or mapping.kept(place) or Columns()
    if lerobot.is_lerobot(place):
        with lerobot.open_lerobot(place) as file:
            return mapping.read(file, told.over(lerobot.usual(file)), task)
    with open_arrays(place) as file:
        return mapping.read(file, told, task)
