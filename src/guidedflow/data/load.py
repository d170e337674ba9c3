"""A dataset by the name of its task, or by its file: which source it is from, and its actions in the box.

    what the data is                                       read by
    a folder that was converted                            mapped
    a file whose columns are named, now or beside it       columns
    a folder of LeRobot's                                  lerobot, columns
    a folder of Minari's, or the name of one               minari
    a task of OGBench or of D4RL                           ogbench, d4rl
    a folder of OGBench's shards                           ogbench, a part at a time
    another HDF5 file in D4RL's layout                     d4rl

This module does not know what is in a file: each source has a loader of its own.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from guidedflow import environments
from guidedflow.data import box
from guidedflow.data.box import Outside
from guidedflow.data.dataset import Dataset
from guidedflow.data.formats import columns as mapping
from guidedflow.data.formats import d4rl, lerobot, minari, ogbench
from guidedflow.data.formats.arrays import open_arrays
from guidedflow.data.formats.columns import Columns
from guidedflow.data.ondisk import mapped
from guidedflow.data.ondisk.mapped import Mapped
from guidedflow.errors import InputError, did_you_mean
from guidedflow.normalization import ActionScale

_SUFFIXES = (".npz", ".hdf5", ".h5", ".parquet", ".mapped")

Source = Literal["ogbench", "d4rl", "minari", "own", "mapped"]


def load_dataset(
    task: Path | str,
    path: Path | str | None = None,
    *,
    columns: Columns | Mapping[str, str] | None = None,
    clip_actions: bool = False,
    rescale_actions: bool | ActionScale = False,
) -> Dataset:
    """The training data of a task, from its suite's own folder or from `path`, with its actions in [-1, 1].

    A file or folder may stand in the place of the task, and tells its name then.

    `columns` tells which column is what in a file of your own, with what is kept beside it; a task without a simulator
    may have any name.
    `rescale_actions` maps the range of each dimension, or a given one, to [-1, 1]; a policy that is trained on it acts
    in the units of the file again. Raises `InputError` for an unknown task, for a file that is missing, damaged or of
    another environment, and for actions outside [-1, 1], unless `clip_actions` or `rescale_actions`.
    """
    rule = Outside.of(clip_actions, bool(rescale_actions))
    scale = rescale_actions if isinstance(rescale_actions, ActionScale) else None
    return box.inside(read_dataset(task, path, columns=Columns.of(columns)), rule, scale)


def open_dataset(
    task: Path | str,
    path: Path | str | None = None,
    *,
    columns: Columns | None = None,
    clip_actions: bool = False,
    rescale_actions: bool | ActionScale = False,
) -> Dataset | Mapped:
    """The same for training: a folder that was converted stays on disk, anything else is in memory."""
    task, place = named(task, path)
    if place is None or columns is not None or not mapped.is_mapped(place):
        return load_dataset(task, place, columns=columns, clip_actions=clip_actions, rescale_actions=rescale_actions)
    Outside.of(clip_actions, bool(rescale_actions))  # not both
    opened = _mapped(task, place, clip_actions)
    given = rescale_actions if isinstance(rescale_actions, ActionScale) else None
    scale = given or (opened.action_range if rescale_actions else None)
    return dataclasses.replace(opened, action_scale=scale, goal_conditioned=_by_goals(task))


def read_parts(
    task: Path | str, path: Path | str | None = None, *, columns: Columns | None = None, source: Source | None = None
) -> Dataset | Iterable[Dataset]:
    """As `read_dataset`; a folder of OGBench's shards is read one after the other, each when it is asked for."""
    task, place = named(task, path)
    if place is not None and place.is_dir() and columns is None and source in (None, "ogbench"):
        files = _shards(task, place)
        if files:
            return (ogbench.load(task, file) for file in files)
    return read_dataset(task, place, columns=columns, source=source)


def read_dataset(
    task: Path | str, path: Path | str | None = None, *, columns: Columns | None = None, source: Source | None = None
) -> Dataset:
    """The same with actions as they were recorded (OGBench's are in the box); `source` says which one it is."""
    task, place = named(task, path)
    return _with_goals(_read(task, place, columns, source or source_of(task, place, columns)))


def _read(task: str, place: Path | None, columns: Columns | None, source: Source) -> Dataset:
    if source == "mapped":
        if place is None:
            raise InputError(f"a dataset that was converted is a folder, but {task!r} is none; name it by its path")
        return _mapped(task, place).read()
    if source == "own":
        return _own(task, place, columns)
    if columns is not None:
        raise InputError(f"--columns names columns of a file of your own, but {task!r} is read as {source} data")
    if source == "minari":
        if place is not None:
            _check_task(task, minari.recorded_name(place), place)
        return minari.load(task, place)
    if source == "ogbench":
        if place is not None and place.is_dir() and _shards(task, place):
            raise InputError(
                f"{place} holds the shards of a dataset that may exceed memory: convert them once, by `guidedflow data "
                f"convert {place} DST --task {task} --to mapped`, and train with --dataset DST"
            )
        return ogbench.load(task, place)
    if place is None or place.is_dir() or environments.known(task):
        if not d4rl.is_walker(task) and environments.parse(task).suite != "d4rl":
            raise InputError(f"{task!r} is no task of D4RL's; leave --from out, or name a file in D4RL's layout")
        return d4rl.load(task, place)
    with open_arrays(place) as file:
        return d4rl.read(file, task)


def _with_goals(dataset: Dataset) -> Dataset:
    """The dataset, goal-conditioned if its task is, whatever file it is from: then each observation is a goal."""
    if dataset.goals is not None or not _by_goals(dataset.name):
        return dataset
    return dataclasses.replace(dataset, goals=dataset.observations)


def _by_goals(task: str) -> bool:
    """Whether a task is goal-conditioned. Raises `InputError` where its goals are none of its observations."""
    if not environments.task_ids(task):
        return False
    if environments.parse(task).oracle:
        raise InputError(
            f"the goals of {task!r} are computed from the states in OGBench's own files; name such a file, or "
            f"take whole observations as goals by the task {task.replace('-oraclerep', '')!r}"
        )
    return True


def named(task: Path | str, path: Path | str | None = None) -> tuple[str, Path | None]:
    """Task and file, where the task may be given as the path of a file or folder, which tells its name then.

    Raises `InputError` for a path with nothing there.
    """
    name, place = str(task), Path(task if path is None else path).expanduser()
    if path is not None:
        return name, place
    if environments.known(name) or not place.exists():
        if _is_path(name) and not at_home(name):
            closest = did_you_mean(name, environments.names())
            raise InputError(f"there is no file or folder {name}, nor a task of that name{closest}")
        return name, None
    if mapped.is_mapped(place):
        return Mapped.open(place).name, place
    told = mapping.dataset_of(place) or d4rl.task_of(place)
    return told or (place.name.removesuffix(place.suffix) if place.is_file() else place.resolve().name), place


def at_home(task: str) -> bool:
    """Whether the name alone says where its data lie: in the folder of its suite."""
    return environments.known(task) or d4rl.is_walker(task) or minari.is_minari(minari.folder() / task)


def _is_path(word: str) -> bool:
    return "/" in word or word.endswith(_SUFFIXES)


def source_of(task: str, place: Path | None, given: Columns | None) -> Source:
    """Which source the data is from. Raises `InputError` where that cannot be told."""
    if given is not None:
        return "own"
    if place is not None and mapped.is_mapped(place):
        return "mapped"
    if place is not None and (mapping.kept(place) is not None or lerobot.is_lerobot(place)):
        return "own"
    if place is not None and minari.is_minari(place):
        return "minari"
    if environments.known(task):
        suite = environments.parse(task).suite
        return "minari" if suite == "minari" else "d4rl" if suite == "d4rl" else "ogbench"
    if d4rl.is_walker(task) and (place is None or place.is_dir()):
        return "d4rl"
    if place is None:
        if minari.is_minari(minari.folder() / task):
            return "minari"
        try:
            environments.parse(task)
        except InputError as error:
            raise InputError(f"{error}, and data of your own is named by --dataset FILE") from None
    assert place is not None
    with open_arrays(place) as file:
        if file.format == "hdf5" and all(key in file for key in d4rl.COLUMNS) and "timeouts" in file:
            return "d4rl"
        raise InputError(
            f"{place} has the columns {', '.join(file.names[:30])}: say which is what by --columns "
            f"observations=NAME actions=NAME rewards=NAME terminals=NAME ends=NAME, or by --task which suite's task it "
            f"is, since {task!r} is none"
        )


def _shards(task: str, folder: Path) -> list[Path]:
    """OGBench's shards of a task, unless the folder also holds the whole dataset."""
    if not environments.known(task) or environments.parse(task).suite in ("d4rl", "minari"):
        return []
    parsed = environments.parse(task)
    return [] if (folder / f"{parsed.dataset}.npz").is_file() else ogbench.shards(parsed, folder)


def _mapped(task: str, place: Path, clip_actions: bool = False) -> Mapped:
    """An open folder. Raises `InputError` for that of another task, since rewards are a task's."""
    _check_task(task, Mapped.open(place, clip_actions=clip_actions).name, place)
    return Mapped.open(place, task, clip_actions)


def _check_task(task: str, recorded: str | None, place: Path) -> None:
    """Raises `InputError` where what lies at `place` is recorded as another task's, since rewards are a task's."""
    if recorded not in (None, task) and environments.known(task) and environments.known(str(recorded)):
        raise InputError(
            f"{place} was converted for {recorded}, whose rewards are not those of {task}; convert again with "
            f"--task {task}, or train on --task {recorded}"
        )


def _own(task: str, place: Path | None, given: Columns | None) -> Dataset:
    if place is None:
        raise InputError(f"data of your own for task {task!r} needs a file: name it by --dataset FILE")
    _check_task(task, mapping.dataset_of(place), place)
    told = mapping.names_of(place, given)
    if lerobot.is_lerobot(place):
        with lerobot.open_lerobot(place) as file:
            return mapping.read(file, told.over(lerobot.usual(file)), task)
    with open_arrays(place) as file:
        return mapping.read(file, told, task)
