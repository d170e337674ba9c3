"""D4RL's dataset files (Fu et al., arXiv 2004.07219), read with h5py alone: the d4rl package is never imported.

A file has a row a step: `observations`, `actions`, `rewards`, `terminals`, mostly `timeouts`, sometimes
`next_observations`. Masks are 1 - `terminals`. Without `next_observations` the successor of a row is the row after it;
then a row with `timeouts`, and the last row of the file, have no successor that belongs to them, so each only serves as
the final observation of its episode, and its action and reward are dropped, as D4RL itself does.

    gym, Adroit     an episode ends at `terminals` or `timeouts`
    antmaze         only where it was cut off, at `timeouts`: the ant walks on from a goal; rewards are lowered by 1
    any             with `next_observations`, also where the following observation lies further than 1e-6 from it; all
                    rows are transitions then, those with `timeouts` included

A terminal row keeps its transition: its mask is 0, so that nobody looks at its successor, which holds the place with
the row's own observation. A file without `timeouts` counts the task's limit of steps instead. This module does not know
what acts.
"""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow import environments
from guidedflow.data.formats import recording
from guidedflow.data.formats.arrays import Arrays
from guidedflow.data.formats.columns import Columns, Roles
from guidedflow.data.formats.recording import Recording
from guidedflow.errors import InputError

COLUMNS = ("observations", "actions", "rewards", "terminals")

_SERVER = "http://rail.eecs.berkeley.edu/datasets/offline_rl"
_LIMITS = {"pen": 100, "door": 200, "hammer": 200, "relocate": 200, "antmaze-umaze": 700}
_WALKERS = re.compile(
    r"(halfcheetah|hopper|walker2d|ant)-(random|medium|expert|medium-replay|full-replay|medium-expert)-v2"
)
_MAZE_FILES = {
    "umaze": "u-maze_noisy_multistart_False_multigoal_False",
    "umaze-diverse": "u-maze_noisy_multistart_True_multigoal_True",
    "medium-play": "big-maze_noisy_multistart_True_multigoal_False",
    "medium-diverse": "big-maze_noisy_multistart_True_multigoal_True",
    "large-play": "hardest-maze_noisy_multistart_True_multigoal_False",
    "large-diverse": "hardest-maze_noisy_multistart_True_multigoal_True",
}


def folder() -> Path:
    """Where D4RL itself keeps its files."""
    return Path(os.environ.get("D4RL_DATASET_DIR", "~/.d4rl/datasets")).expanduser()


def is_walker(name: str) -> bool:
    """Whether it is one of D4RL's walkers: published data without a simulator here, since Minari's took their place."""
    return _WALKERS.fullmatch(name) is not None


def address(task: str) -> str:
    """Where D4RL published a task's file."""
    if (match := _WALKERS.fullmatch(task)) is not None:
        return f"{_SERVER}/gym_mujoco_v2/{match[1]}_{match[2].replace('-', '_')}-v2.hdf5"
    parsed = environments.parse(task)
    if parsed.environment.startswith("antmaze"):
        return f"{_SERVER}/ant_maze_v2/Ant_maze_{_MAZE_FILES[parsed.data]}_sparse_fixed.hdf5"
    return f"{_SERVER}/hand_dapg_v1/{task}.hdf5"


def task_of(file: Path) -> str | None:
    """The task whose data D4RL published in a file of this name, where that name does not tell it: the ant's mazes."""
    mazes = (f"antmaze-{data}-v2" for data in _MAZE_FILES)
    return next((task for task in mazes if address(task).endswith(f"/{file.name}")), None)


def claims(task: str, place: Path | None) -> bool:
    """Whether a task's data are D4RL's; a walker may also name other data, in a file of its own."""
    return _is_task(task) or (is_walker(task) and (place is None or place.is_dir()))


def resembles(file: Arrays) -> bool:
    """Whether a file is in D4RL's layout."""
    return file.format == "hdf5" and all(key in file for key in (*COLUMNS, "timeouts"))


def home(task: str, place: Path | None = None) -> Path:
    """The file of a task: the place, or its file there or in D4RL's own folder; it need not be there.

    Raises `InputError` for a name that is none of D4RL's, where no file is named.
    """
    inside = place is None or place.is_dir()
    if not is_walker(task) and not _is_task(task) and (inside or environments.known(task)):
        raise InputError(f"{task!r} is no task of D4RL's; leave --from out, or name a file in D4RL's layout")
    if place is not None and not inside:
        return place.expanduser()
    where = (folder() if place is None else place).expanduser()
    files = [where / name for name in (address(task).rsplit("/", 1)[1], f"{task}.hdf5")]
    return next((file for file in files if file.is_file()), files[0])


def roles(file: Arrays, task: str, told: Columns) -> Roles:
    """D4RL's own names."""
    usual = {key: key for key in COLUMNS}
    usual |= {role: key for role, key in (("ends", "timeouts"), ("next_observations",) * 2) if key in file}
    return Roles(Columns(**usual), of_d4rl=True, goes_on=_is_maze(task))


def missing(path: Path, task: str) -> InputError:
    """The sentence about a file that is not there."""
    known = is_walker(task) or _is_task(task)
    published = f"get it by `guidedflow data download {task}` or from {address(task)}, or " if known else ""
    return InputError(f"{path} does not exist: {published}name a file by --dataset")


def record(file: Arrays, roles: Roles, task: str) -> Recording:
    """What an open file recorded, by the rules of its task if it is one of D4RL's, with its actions as they were.

    Raises `InputError` for columns that are not D4RL's or do not fit each other.
    """
    limit = 1000 if is_walker(task) else None
    if _is_task(task):
        limit = _LIMITS.get(environments.parse(task).environment, 1000)
    return read(file, _is_maze(task), limit)


def _is_task(task: str) -> bool:
    """Whether a name is one of the tasks of D4RL's that have a simulator here."""
    return environments.known(task) and environments.parse(task).suite == "d4rl"


def _is_maze(task: str) -> bool:
    """Whether it is one of the ant's mazes, where episodes go on at a goal."""
    return _is_task(task) and environments.parse(task).environment.startswith("antmaze")


def read(file: Arrays, antmaze: bool = False, limit: int | None = None) -> Recording:
    """What an open file recorded in D4RL's layout; `limit` is the number of steps that ends an episode."""
    observations, actions = (_matrix(file, key) for key in ("observations", "actions"))
    rewards = _vector(file, "rewards")
    terminals = _flags(file, "terminals")
    following = _matrix(file, "next_observations") if "next_observations" in file else None
    if "timeouts" in file:
        timeouts = _flags(file, "timeouts")
    elif limit is not None:
        timeouts = recording.timed(terminals, limit)
    else:
        raise file.complaint("timeouts", "be there, to tell where a recording was cut off", "terminals alone")
    columns = {"actions": actions, "rewards": rewards, "terminals": terminals, "timeouts": timeouts}
    columns |= {} if following is None else {"next_observations": following}
    for key, column in columns.items():
        if len(column) != len(observations) or not len(column):
            raise file.complaint(key, f"have {len(observations)} rows as 'observations' has", str(len(column)))
    if following is not None and following.shape != observations.shape:
        raise file.complaint("next_observations", f"have the shape {observations.shape}", str(following.shape))
    cut = timeouts.copy()
    cut[-1] = True
    ends = cut if antmaze else cut | terminals
    if following is not None:
        ends = ends | recording.jumps(observations, following)
    return Recording(
        observations=observations,
        actions=actions,
        rewards=rewards - np.float32(1) if antmaze else rewards,
        masks=1 - terminals.astype(np.float32),
        ends=ends,
        next_observations=following,
        final=None if following is not None else cut,
    )


def _matrix(file: Arrays, key: str) -> NDArray[Any]:
    column = file.read(key)
    if column.ndim < 2:
        raise file.complaint(key, "have the shape (rows, numbers)", str(column.shape))
    return column


def _vector(file: Arrays, key: str) -> NDArray[Any]:
    """A number a row; some files write it as (rows, 1)."""
    column = file.read(key)
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.ndim != 1:
        raise file.complaint(key, "have the shape (rows,)", str(column.shape))
    return column.astype(np.float32, copy=False)


def _flags(file: Arrays, key: str) -> NDArray[np.bool_]:
    column = _vector(file, key)
    flags = column.astype(bool)
    if (wrong := np.flatnonzero(flags != column)).size:
        raise file.complaint(key, "be 0 or 1", f"{column[wrong[0]]} in row {wrong[0]}")
    return flags
