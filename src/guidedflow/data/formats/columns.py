"""Data of your own: which column of a file is what, said once and kept beside the file.

    observations        one column, or several joined by + ; `obs/joints+obs/gripper` puts them side by side, unless it
                        is the name of a column itself
    actions             the same
    rewards             a column, or a number that every step gets
    terminals           1 where the task itself ended, solved or failed: nothing is bootstrapped from there, and the
                        episode ends; `none` where every episode was only cut off
    masks               instead of terminals: 0 where nothing is bootstrapped, which ends no episode
    ends                1 in the last step of each episode, for whatever reason
    episodes            a number that is another one in the next episode
    last                1 in rows that only hold the final observation of an episode (OGBench's files, and ours)
    next_observations   what was seen after the step, if a column tells it
    goals               what each row is as a goal, a column or several joined by + ; the data is then goal-conditioned,
                        and rewards and the ends of the task count for nothing and need not be told
    weights             how much more often than others a step is drawn, under --rebalance weights

Episodes end where `terminals`, `ends` or a change of `episodes` say so, and at the end of the file. What becomes of an
episode's final observation is told in `recording`. The names are kept in `FILE.columns.json`; beside a file that this
library wrote it also says the dataset's own name. This module does not know of suites, nor which task is learned.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidedflow import files
from guidedflow.data.dataset import Dataset
from guidedflow.data.formats import recording
from guidedflow.data.formats.arrays import Arrays
from guidedflow.errors import InputError, did_you_mean

NONE = "none"

_NEXT = re.compile(r",(?=\w+=)")
"""A comma that does not belong to the name of a column."""

_INSTEAD = (
    ("terminals", ("masks",)),
    ("masks", ("terminals",)),
    ("last", ("ends", "episodes", "next_observations")),
    *((role, ("last",)) for role in ("ends", "episodes", "next_observations")),
)
"""Roles, and those in whose place they stand."""

_DATASET = "dataset"
"""Beside the roles of columns, what names the dataset."""


@dataclass(frozen=True)
class Columns:
    """The name of each column; see the module's docstring."""

    observations: str | None = None
    actions: str | None = None
    rewards: str | None = None
    terminals: str | None = None
    masks: str | None = None
    ends: str | None = None
    episodes: str | None = None
    last: str | None = None
    next_observations: str | None = None
    goals: str | None = None
    weights: str | None = None

    @classmethod
    def parse(cls, words: Iterable[str]) -> "Columns":
        """From words such as `observations=obs`; several may stand in one word, a comma before each next `ROLE=`."""
        named: dict[str, str] = {}
        for word in chain.from_iterable(map(_NEXT.split, words)):
            role, sign, column = word.partition("=")
            if not sign or not column:
                raise InputError(f"columns are given as ROLE=NAME, for example observations=obs, not as {word!r}")
            if role in named:
                raise InputError(f"columns name {role} twice, as {named[role]!r} and as {column!r}; give one")
            named[role] = column
        return cls.named(named, "--columns")

    @classmethod
    def of(cls, told: "Columns | Mapping[str, str] | None") -> "Columns | None":
        """These columns, also from a mapping of roles to names. Raises `InputError` for anything else."""
        if told is None or isinstance(told, Columns):
            return told
        if not isinstance(told, Mapping):
            raise InputError(
                f"columns must be Columns, or a mapping such as {{'observations': 'obs'}}, found {type(told).__name__}"
            )
        return cls.named(told, "columns")

    @classmethod
    def named(cls, named: Mapping[str, Any], where: str) -> "Columns":
        """From a mapping. Raises `InputError` for a role that there is not."""
        roles = [field.name for field in dataclasses.fields(cls)]
        for role, column in named.items():
            if role not in roles:
                raise InputError(
                    f"{where}: there is no role {role!r}{did_you_mean(role, roles)}; roles are {', '.join(roles)}"
                )
            if not isinstance(column, str):
                raise InputError(f"{where}: {role} must be the name of a column, found {column!r}")
        return cls(**named)

    def over(self, others: "Columns") -> "Columns":
        """These names, and the others' where these say nothing, neither by the role nor by one in its place."""
        told = self.told()
        replaced = {role for own, instead in _INSTEAD for role in instead if own in told}
        return Columns(**{role: name for role, name in others.told().items() if role not in replaced} | told)

    def told(self) -> dict[str, str]:
        """The roles that have a name."""
        return {role: name for role, name in dataclasses.asdict(self).items() if name is not None}


@dataclass(frozen=True)
class Roles:
    """Which column is what, and what the source of a file says about its episodes."""

    columns: Columns
    of_d4rl: bool = False
    """Whether ends mark time limits alone, and an observation that does not follow ends an episode too."""
    goes_on: bool = False
    """Whether episodes go on after their task ended, as in OGBench's files and D4RL's mazes."""
    others: tuple[str, ...] = ()
    """Further columns that the source needs."""


class NamesDamaged(InputError):
    """Names beside a file that cannot be read."""


OURS = Columns(observations="observations", actions="actions", rewards="rewards", masks="masks", last="last")
"""The columns of a file that this library wrote; of a dataset that has weights, these too."""


def place(path: Path) -> Path:
    """Where the names of a file's columns are kept."""
    path = path.expanduser().resolve()
    return path.with_name(f"{path.name}.columns.json")


def home(task: str, file: Path | None) -> Path:
    """The file. Raises `InputError` where none is named."""
    if file is None:
        raise InputError(f"data of your own for task {task!r} needs a file: name it by --dataset FILE")
    return file


def roles(file: Arrays, task: str, told: Columns) -> Roles:
    """What the names say, and nothing else."""
    return Roles(told)


def kept(path: Path) -> Columns | None:
    """The names that are kept beside a file, or None. Raises `NamesDamaged` for names that cannot be read."""
    named = _beside(path)
    if named is None:
        return None
    try:
        return Columns.named({role: name for role, name in named.items() if role != _DATASET}, str(place(path)))
    except InputError as error:
        raise NamesDamaged(str(error)) from error


def dataset_of(path: Path) -> str | None:
    """The name of the dataset that this library wrote to a file; None for other files, and where it cannot be read."""
    try:
        name = (_beside(path) or {}).get(_DATASET)
    except InputError:  # told when the columns are read
        return None
    return name if isinstance(name, str) else None


def names_of(path: Path, given: Columns | None = None) -> Columns:
    """The names given, and the kept ones where these say nothing."""
    return (given or Columns()).over(kept(path) or Columns())


def complemented(path: Path, given: Columns) -> Columns:
    """The same. Raises `InputError` if the kept ones say otherwise."""
    whole, found = names_of(path, given), kept(path) or Columns()
    if whole != found.over(given):
        raise InputError(
            f"{place(path)} names other columns than --columns ({_shown(found)}): leave --columns out to use "
            "these, or remove that file to replace them"
        )
    return whole


def keep(path: Path, columns: Columns, dataset: str | None = None) -> None:
    """Keep the names beside a file, with those that are kept there, and that of the dataset if it is told.

    Raises `InputError` if other names are kept there, or the disk refuses.
    """
    if complemented(path, columns) != kept(path):
        named = _beside(path) or ({} if dataset is None else {_DATASET: dataset})
        files.write_json(place(path), named | columns.told(), shared=True)


def _beside(path: Path) -> dict[str, Any] | None:
    """What is kept beside a file."""
    beside = place(path)
    try:
        return files.read_json(beside, "a JSON object of column names") if beside.is_file() else None
    except files.DamagedFile as error:
        raise NamesDamaged(str(error)) from error


def read(file: Arrays, columns: Columns, name: str) -> Dataset:
    """The dataset of an open file. Raises `InputError` for names that are missing or do not fit each other."""
    check_told(file, columns)
    observations = _matrix(file, columns.observations or "")
    rows = len(observations)
    actions = _rows(file, columns.actions or "", _matrix(file, columns.actions or ""), rows)
    rewards = _rewards(file, columns.rewards or "0", rows)
    terminals = np.zeros(rows, bool)
    if columns.terminals not in (None, NONE):
        terminals = _flags(file, str(columns.terminals), rows)
    masks = 1 - terminals.astype(np.float32)
    if columns.masks is not None:
        masks = _flags(file, columns.masks, rows).astype(np.float32)
    weights = None
    if columns.weights is not None:
        weights = _vector(file, columns.weights, rows).astype(np.float32, copy=False)
    goals = None
    if columns.goals is not None:
        told = columns.goals == columns.observations
        goals = observations if told else _rows(file, columns.goals, _matrix(file, columns.goals), rows)
    if columns.last is not None:
        return _whole(file, columns, name, observations, actions, rewards, masks, weights, goals)
    ends = terminals.copy()
    ends[-1] = True
    if columns.ends is not None:
        ends |= _flags(file, columns.ends, rows)
    if columns.episodes is not None:
        number = _vector(file, columns.episodes, rows)
        ends[:-1] |= number[1:] != number[:-1]
    following = None
    if columns.next_observations is not None:
        following = _rows(file, columns.next_observations, _matrix(file, columns.next_observations), rows)
        if following.shape != observations.shape:
            raise file.complaint(
                columns.next_observations, f"have the shape {observations.shape}", f"{following.shape}"
            )
    return recording.to_dataset(
        name, observations, actions, rewards, masks, ends, following, weights=weights, goals=goals
    )


def _whole(
    file: Arrays,
    columns: Columns,
    name: str,
    observations: NDArray[Any],
    actions: NDArray[Any],
    rewards: NDArray[Any],
    masks: NDArray[Any],
    weights: NDArray[Any] | None,
    goals: NDArray[Any] | None,
) -> Dataset:
    """Of a file whose episodes hold their final observations."""
    last = _flags(file, columns.last or "", len(observations))
    if not last[-1]:
        raise file.complaint(columns.last or "", "be 1 in the final row", "0, so the last episode is cut off")
    seen = recording.numbers(observations)
    wanted = seen if goals is observations else None if goals is None else recording.numbers(goals)
    return Dataset(name, seen, recording.numbers(actions), rewards, masks, last, goals=wanted, weights=weights)


def check_told(file: Arrays, columns: Columns) -> None:
    """Raises `InputError` where it is not said what must be said."""
    has = f"{file.path} has the columns {', '.join(file.names[:30])}: say"
    for role in ("observations", "actions"):
        if getattr(columns, role) is None:
            raise InputError(f"{has} which are the {role}, by --columns {role}=NAME")
    if columns.rewards is None and columns.goals is None:
        raise InputError(f"{has} which is the reward, by --columns rewards=NAME, or rewards=0 to clone without any")
    if columns.terminals is not None and columns.masks is not None:
        raise InputError(f"{file.path}: name terminals or masks, not both, since a mask is 1 - terminal")
    if columns.last is not None:
        if columns.terminals is not None and columns.terminals != NONE:
            raise InputError(f"{file.path}: rows of final observations (last) go with masks, not with terminals")
        for role in ("ends", "episodes", "next_observations"):
            if getattr(columns, role) is not None:
                raise InputError(f"{file.path}: last already tells where episodes end; leave {role} out")
    if columns.terminals is None and columns.masks is None and columns.goals is None:
        raise InputError(
            f"{has} where the task itself ended, by --columns terminals=NAME (or masks=NAME), or terminals=none "
            "where every episode was only cut off"
        )
    told = (columns.last, columns.ends, columns.episodes, None if columns.terminals == NONE else columns.terminals)
    if not any(told):
        raise InputError(f"{has} where episodes end, by --columns ends=NAME, episodes=NAME or last=NAME")


def joined(file: Arrays, name: str) -> list[str]:
    """The columns that a name joins by + ; a column of that very name comes first."""
    return [name] if name in file else name.split("+")


def _matrix(file: Arrays, name: str) -> NDArray[Any]:
    """One column or several side by side, as (rows, numbers), images as they are."""
    names = joined(file, name)
    parts = [file.read(part) for part in names]
    parts = [part[:, None] if part.ndim == 1 else part for part in parts]
    for part, called in zip(parts, names, strict=True):
        if part.ndim < 2 or len(part) != len(parts[0]) or not part.size or (len(parts) > 1 and part.ndim != 2):
            raise file.complaint(called, f"have the shape ({len(parts[0]) or 'rows'}, numbers)", f"{part.shape}")
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _vector(file: Arrays, name: str, rows: int) -> NDArray[Any]:
    column = file.read(name)
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.ndim != 1:
        raise file.complaint(name, "have one number a row", f"the shape {column.shape}")
    return _rows(file, name, column, rows)


def _rows(file: Arrays, name: str, column: NDArray[Any], rows: int) -> NDArray[Any]:
    if len(column) != rows:
        raise file.complaint(name, f"have {rows} rows as the observations have", str(len(column)))
    return column


def _rewards(file: Arrays, name: str, rows: int) -> NDArray[Any]:
    if name not in file:
        try:
            return np.full(rows, float(name), np.float32)
        except ValueError:
            pass  # not a number, so that it is the name of a column that is missing
    return _vector(file, name, rows).astype(np.float32, copy=False)


def _flags(file: Arrays, name: str, rows: int) -> NDArray[np.bool_]:
    column = _vector(file, name, rows)
    flags = column.astype(bool)
    if (wrong := np.flatnonzero(flags != column)).size:
        raise file.complaint(name, "be 0 or 1", f"{column[wrong[0]]} in row {wrong[0]}")
    return flags


def _shown(columns: Columns) -> str:
    return ", ".join(f"{role}={name}" for role, name in columns.told().items())
