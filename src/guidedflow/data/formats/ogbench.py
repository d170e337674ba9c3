"""OGBench's dataset files (Park et al., arXiv 2410.20092), with the rewards and masks of a single task, or with goals.

A file holds `observations`, `actions`, `terminals`, `qpos`, `qvel` and, for scene and puzzle, `button_states`. An
episode of L actions has L + 1 rows and `terminals` is True on the last of them: where a recording ends (`last`), not
where a task is solved. Rewards and masks are OGBench's own relabelling of the state s, not of its successor: the mask
is 0 exactly where the task is solved at s. A name without a task is goal-conditioned: every row is a goal, as its whole
observation or, for an `oraclerep` name, as the few numbers that OGBench takes from the recorded state. This module does
not know how a file was made, nor what is learned from it.
"""

import re
import zipfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from guidedflow import environments
from guidedflow.data.box import ACTION_LIMIT
from guidedflow.data.dataset import Dataset, first_unfinite_row
from guidedflow.data.formats.arrays import DAMAGE, ColumnError
from guidedflow.data.obtain.collect import FOLDER, collectable
from guidedflow.environments import Task
from guidedflow.errors import InputError
from guidedflow.files import reason

Shape = tuple[int, ...]

_SHARD = re.compile(r"-\d{3,}\.npz$")
_TYPES = {"f": "float", "u": "uint8", "iu": "integer", "bfiu": "boolean"}


def load(task: str, path: Path | None = None, validation: bool = False) -> Dataset:
    """The dataset of a name, rewards and masks as relabelled by OGBench, actions clipped to `ACTION_LIMIT`.

    Goal-conditioned data has no rewards (they are 0) and ends nowhere but where its recordings do (masks are 1).

    `path` is the training file, or a folder that holds it under OGBench's name; by default OGBench's own folder. The
    validation file lies beside it. Raises `InputError` for an unknown task, a missing file, and a file that is damaged
    or belongs to another environment.
    """
    parsed = environments.parse(task)
    file = locate(parsed, path, validation)
    env = environments.make(task, goal=False)
    try:
        with _Archive(file, _expected(parsed, env)) as archive:
            last = archive.ends()
            # What only relabelling needs is dropped before the large column is read.
            if parsed.goal_conditioned:
                rewards, masks = np.zeros(len(last), np.float32), np.ones(len(last), np.float32)
                goals = _oracle(archive, parsed, env) if parsed.oracle else None
            else:
                rewards, masks = _relabel(archive, parsed, env)
                goals = None
            actions = archive.read("actions").astype(np.float32, copy=False)
            observations = archive.read("observations")
    finally:
        env.close()
    observations = observations.astype(env.observation_space.dtype, copy=False)
    return Dataset(
        name=task,
        observations=observations,
        actions=np.clip(actions, -ACTION_LIMIT, ACTION_LIMIT, out=actions),
        rewards=rewards,
        masks=masks,
        last=last,
        goals=observations if goals is None and parsed.goal_conditioned else goals,
    )


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


def locate(task: Task, path: Path | None = None, validation: bool = False) -> Path:
    """The file of a task's dataset. Raises `InputError`, with both ways to get it, where there is none."""
    place = (FOLDER if path is None else Path(path)).expanduser()
    file = place / f"{task.dataset}.npz" if path is None or place.is_dir() else place
    if validation:
        file = file.with_name(f"{file.stem}-val.npz")
    if not file.is_file():
        out = "" if path is None else f" --out {place}"
        collect = f"collect it by `guidedflow data collect {task.dataset}{out}`, or "
        raise InputError(
            f"{file} does not exist: {collect if task.dataset in collectable() else ''}get OGBench's own by "
            f"`guidedflow data download {task.dataset}{out if place.suffix != '.npz' else f' --out {place.parent}'}`"
        )
    return file


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

    columns = _states(archive)
    relabel_dataset(task.environment, env, columns)
    return columns["rewards"], columns["masks"]


def _oracle(archive: "_Archive", task: Task, env: gymnasium.Env[Any, Any]) -> NDArray[Any]:
    """What each row is as a goal, by OGBench's own account: where the body, the ball, the cubes and the buttons are."""
    from ogbench.relabel_utils import add_oracle_reps

    columns = _states(archive)
    add_oracle_reps(task.environment, env, columns)
    return columns["oracle_reps"]


def _states(archive: "_Archive") -> dict[str, NDArray[Any]]:
    """The recorded states of the simulator."""
    return {key: archive.read(key) for key in ("qpos", "button_states") if key in archive.expected}


class _Archive:
    """An open file whose columns are all there, of the expected types and shapes and equally long, but still unread.

    Every complaint is an `InputError` that names the file and the key, what was expected and what was found.
    """

    def __init__(self, path: Path, expected: dict[str, tuple[Shape, str]]) -> None:
        self.path, self.expected = path, expected
        self._archive = _open(path)
        try:
            self._check_headers()
        except BaseException:
            self._archive.close()
            raise

    def __enter__(self) -> "_Archive":
        return self

    def __exit__(self, *exception: object) -> None:
        self._archive.close()

    def read(self, key: str) -> NDArray[Any]:
        """A column. Raises `InputError` if its bytes are damaged or a number is not finite."""
        try:
            column = self._archive[key]
        except DAMAGE as error:
            raise self._complaint(key, "be a readable array", f"damage ({error}); get it again") from error
        if (row := first_unfinite_row(column)) is not None:
            raise self._complaint(key, "be finite", f"NaN or infinity in row {row}")
        return column

    def ends(self) -> NDArray[Any]:
        """Where episodes end, as booleans."""
        terminals = self.read("terminals")
        last = terminals.astype(bool)
        if not np.array_equal(last, terminals):
            raise self._complaint("terminals", "be 0 or 1", str(terminals[last != terminals][0]))
        if not last.any():
            raise self._complaint("terminals", "be 1 in the last row of each episode", f"0 in all {len(last)} rows")
        if not last[-1]:
            raise self._complaint("terminals", "be 1 in the final row", "0, so the last episode is cut off")
        return last

    def _check_headers(self) -> None:
        lengths = {}
        for key, (shape, kinds) in self.expected.items():
            if key not in self._archive.files:
                use = ", since OGBench computes rewards from it" if key in ("qpos", "button_states") else ""
                raise self._complaint(key, f"be there{use}", f"only {', '.join(self._archive.files) or 'nothing'}")
            found, dtype = self._header(key)
            if dtype.hasobject:
                raise self._complaint(key, "be numbers", "pickled objects, which are never loaded")
            if dtype.kind not in kinds:
                raise self._complaint(key, f"be of type {_TYPES[kinds]}", str(dtype))
            if len(found) == 0 or found[1:] != shape:
                wanted = f"({', '.join(['rows', *map(str, shape)])})"
                raise self._complaint(key, f"have the shape {wanted}", f"{found}; is it another environment's file?")
            lengths[key] = found[0]
        first, rows = next(iter(lengths.items()))
        for key, length in lengths.items():
            if length != rows or rows == 0:
                raise self._complaint(key, f"have {rows or 'some'} rows as {first!r} has", str(length))

    def _header(self, key: str) -> tuple[Shape, np.dtype]:
        """Shape and type of a column, without reading it."""
        versions = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        try:
            with self._archive.zip.open(f"{key}.npy") as stream:
                shape, _, dtype = versions[np.lib.format.read_magic(stream)](stream)
        except DAMAGE as error:
            raise self._complaint(key, "be a readable array", f"damage ({error}); get it again") from error
        return shape, dtype

    def _complaint(self, key: str, expected: str, found: str) -> InputError:
        return ColumnError(self.path, key, expected, found)


def _open(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            if magic[:2] != b"PK":
                raise InputError(f"{path} must be an .npz archive of arrays, found a file that begins with {magic!r}")
            if not zipfile.is_zipfile(file):
                raise InputError(f"{path} must be a complete .npz archive, found one that is cut off; get it again")
        return np.load(path, allow_pickle=False)
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} must be a complete .npz archive, found damage ({error}); get it again") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason(error)}") from error
