"""OGBench's dataset files (Park et al., arXiv 2410.20092), with the rewards and masks of a single task, or with goals.

A file holds `observations`, `actions`, `terminals`, `qpos`, `qvel` and, for scene and puzzle, `button_states`. An
episode of L actions has L + 1 rows and `terminals` is True on the last of them: where a recording ends (`last`), not
where a task is solved. Rewards and masks are OGBench's own relabelling of the state s, not of its successor: the mask
is 0 exactly where the task is solved at s. A name without a task is goal-conditioned: every row is a goal, as its whole
observation or, for an `oraclerep` name, as the few numbers that OGBench takes from the recorded state. This module does
not know how a file was made, nor what is learned from it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from guidedflow import environments
from guidedflow.data.actions import Outside, inside
from guidedflow.data.dataset import Dataset, UnfiniteColumn, first_unfinite_row
from guidedflow.data.formats.arrays import Arrays, ColumnError
from guidedflow.data.formats.columns import Columns, Roles
from guidedflow.data.formats.npz import NpzArrays
from guidedflow.data.obtain.collect import FOLDER, collectable
from guidedflow.environments import Task
from guidedflow.errors import InputError

Shape = tuple[int, ...]

_SHARD = re.compile(r"-\d{3,}\.npz$")
_TYPES = {"f": "float", "u": "uint8", "iu": "integer", "bfiu": "boolean"}


def home(task: str, place: Path | None = None) -> Path:
    """The training file of a task: the place, or its file there or in OGBench's own folder; it need not be there.

    A folder of shards stands for itself. Raises `InputError` where a shard in between is missing.
    """
    place, parsed = (FOLDER if place is None else place).expanduser(), environments.parse(task)
    whole = place / f"{parsed.dataset}.npz"
    if place.is_file() or place.suffix == ".npz" or (not whole.is_file() and shards(parsed, place)):
        return place
    return whole


def parts(path: Path, task: str) -> Iterator[Dataset] | None:
    """The datasets of a folder of shards, each read when it is asked for; None for a file."""
    if not path.is_dir():
        return None
    return (load(file, task) for file in shards(environments.parse(task), path))


def roles(file: Arrays, task: str, told: Columns) -> Roles:
    """OGBench's own names."""
    columns = Columns(observations="observations", actions="actions", last="terminals")
    others = ("qpos", "button_states") if task.startswith(("scene", "puzzle")) else ("qpos",)
    return Roles(columns, goes_on=True, others=others)


def load(path: Path, task: str) -> Dataset:
    """The dataset of a file, rewards and masks as relabelled by OGBench for the task, actions clipped to [-1, 1].

    Goal-conditioned data has no rewards (they are 0) and ends nowhere but where its recordings do (masks are 1).
    Raises `InputError` for an unknown task, a missing file, and a file that is damaged or belongs to another
    environment.
    """
    parsed = environments.parse(task)
    if path.is_dir():
        raise InputError(
            f"{path} holds the shards of a dataset that may exceed memory: convert them once, by `guidedflow data "
            f"convert {path} DST --task {task} --to mapped`, and train with --dataset DST"
        )
    if not path.is_file():
        raise missing(path, task)
    env = environments.make(task, goal=False)
    try:
        with _Archive(path, _expected(parsed, env)) as archive:
            last = archive.ends()
            # What only relabelling needs is dropped before the large column is read.
            if parsed.goal_conditioned:
                rewards, masks = np.zeros(len(last), np.float32), np.ones(len(last), np.float32)
                goals = _oracle(archive, parsed, env) if parsed.oracle else None
            else:
                rewards, masks = _relabel(archive, parsed, env)
                goals = None
            actions = archive.read("actions").astype(np.float32, copy=False)
            observations = archive.read("observations").astype(env.observation_space.dtype, copy=False)
            goals = observations if goals is None and parsed.goal_conditioned else goals
            try:
                made = Dataset(task, observations, actions, rewards, masks, last, goals)
            except UnfiniteColumn as error:
                raise archive.unfinite(error.column, error.row) from error
            return inside(made, Outside.clipped)
    finally:
        env.close()


def shards(task: Task, folder: Path) -> list[Path]:
    """The files of a dataset that comes in shards, `{dataset}-000.npz` and so on, without those for validation.

    Raises `InputError` where one in between is missing.
    """
    found = sorted(path for path in folder.glob(f"{task.dataset}-*.npz") if _SHARD.search(path.name))
    for number, path in enumerate(found):
        if int(path.stem.rpartition("-")[2]) != number:
            raise InputError(
                f"{folder} lacks shard {number:03}: after {number} of them comes {path.name}; download the one that is "
                "missing, or name a folder that begins with 000"
            )
    return found


def missing(file: Path, task: str) -> InputError:
    """The sentence about a file that is not there, with both ways to get it."""
    name = environments.parse(task).dataset
    place = file.parent if file.name == f"{name}.npz" else file
    own = file.parent == FOLDER.expanduser()
    collect = f"collect it by `guidedflow data collect {name}{'' if own else f' --out {place}'}`, or "
    return InputError(
        f"{file} does not exist: {collect if name in collectable() else ''}get OGBench's own by "
        f"`guidedflow data download {name}{'' if own else f' --out {file.parent}'}`"
    )


def _expected(task: Task, env: gymnasium.Env[Any, Any]) -> dict[str, tuple[Shape, str]]:
    """Shape of a row and kinds of numbers (NumPy's letters) of each column that the task's file must have."""
    simulator: Any = env.unwrapped
    pixels = env.observation_space.dtype == np.uint8
    columns: dict[str, tuple[Shape, str]] = {
        "observations": (tuple(env.observation_space.shape or ()), "u" if pixels else "f"),
        "actions": (tuple(env.action_space.shape or ()), "f"),
        "terminals": ((), "bfiu"),
    }
    if task.goal_conditioned and not task.oracle:
        return columns
    columns["qpos"] = ((simulator.model.nq,), "f")
    buttons = getattr(simulator, "_num_buttons", 0)
    return columns | ({"button_states": ((buttons,), "iu")} if buttons else {})


def _relabel(archive: "_Archive", task: Task, env: gymnasium.Env[Any, Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """OGBench's rewards and masks, from the recorded states and the task's goal."""
    from ogbench.relabel_utils import relabel_dataset

    columns = archive.states()
    relabel_dataset(task.environment, env, columns)
    return columns["rewards"], columns["masks"]


def _oracle(archive: "_Archive", task: Task, env: gymnasium.Env[Any, Any]) -> NDArray[Any]:
    """What each row is as a goal, by OGBench's own account: where the body, the ball, the cubes and the buttons are."""
    from ogbench.relabel_utils import add_oracle_reps

    columns = archive.states()
    add_oracle_reps(task.environment, env, columns)
    return columns["oracle_reps"]


class _Archive(NpzArrays):
    """An open file whose columns are all there, of the expected types and shapes and equally long, but still unread."""

    def __init__(self, path: Path, expected: dict[str, tuple[Shape, str]]) -> None:
        super().__init__(path)
        self.expected = expected
        try:
            self._check_headers()
        except BaseException:
            self.close()
            raise

    def states(self) -> dict[str, NDArray[Any]]:
        """The recorded states of the simulator. Raises `ColumnError` for a number that is not finite."""
        held = [key for key in ("qpos", "button_states") if key in self.expected]
        columns: dict[str, NDArray[Any]] = {key: self.read(key) for key in held}
        for key, column in columns.items():
            if (row := first_unfinite_row(column)) is not None:
                raise self.unfinite(key, row)
        return columns

    def ends(self) -> NDArray[Any]:
        """Where episodes end, as booleans. Raises `ColumnError` unless the final row is an end."""
        terminals = self.read("terminals")
        last = terminals.astype(bool)
        if not np.array_equal(last, terminals):
            raise self.complaint("terminals", "be 0 or 1", str(terminals[last != terminals][0]))
        if not last.any():
            raise self.complaint("terminals", "be 1 in the last row of each episode", f"0 in all {len(last)} rows")
        if not last[-1]:
            raise self.complaint("terminals", "be 1 in the final row", "0, so the last episode is cut off")
        return last

    def unfinite(self, key: str, row: int) -> ColumnError:
        """The sentence about a number that is not finite."""
        return self.complaint(key, "be finite", f"NaN or infinity in row {row}")

    def _check_headers(self) -> None:
        lengths = {}
        for key, (shape, kinds) in self.expected.items():
            if key not in self:
                use = ", since OGBench computes rewards from it" if key in ("qpos", "button_states") else ""
                raise self.complaint(key, f"be there{use}", f"only {', '.join(self.names) or 'nothing'}", "missing")
            found, dtype = self.header(key)
            if dtype.hasobject:
                raise self.complaint(key, "be numbers", "pickled objects, which are never loaded", "pickled")
            if dtype.kind not in kinds:
                raise self.complaint(key, f"be of type {_TYPES[kinds]}", str(dtype))
            if len(found) == 0 or found[1:] != shape:
                wanted = f"({', '.join(['rows', *map(str, shape)])})"
                raise self.complaint(key, f"have the shape {wanted}", f"{found}; is it another environment's file?")
            lengths[key] = found[0]
        first, rows = next(iter(lengths.items()))
        for key, length in lengths.items():
            if length != rows or rows == 0:
                raise self.complaint(key, f"have {rows or 'some'} rows as {first!r} has", str(length))
