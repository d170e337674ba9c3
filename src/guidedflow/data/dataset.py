"""Episodes as columns over rows, and the transitions cut from them.

Two different things end a transition's future: `masks` says whether to bootstrap from its next observation, `last`
where a recording stops. An observation is stored once; a transition is a pair of indices into the rows. This module
does not know of files, suites, environments or algorithms.
"""

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float32, Shaped

from guidedflow.data.transitions import Cut, Transitions, no_transition
from guidedflow.errors import InputError
from guidedflow.normalization import ActionScale
from guidedflow.packing import PartShapes, Shape, dtype_of, pack, shape_of, type_of, unpacked

TOLERANCE = 1e-6
"""An action outside [-1, 1] by no more than this is rounded, and counts as inside."""


class Excess(NamedTuple):
    """How much of a dataset's actions lies outside [-1, 1]; final rows do not count."""

    share: float
    """Share of the numbers outside."""
    row: int | None
    """First row with such a number."""
    largest: float
    """Largest size of a number, also of one inside."""


class UnfiniteColumn(InputError):
    """A number of a column is NaN or infinite."""

    def __init__(self, dataset: str, column: str, row: int) -> None:
        super().__init__(f"dataset {dataset!r}: {column} is not finite in row {row}")
        self.column, self.row = column, row


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Episodes end to end; an episode of L actions has L + 1 rows.

    The final row of an episode, where `last` is True, only holds its last observation: reward and mask of that row
    belong to no transition, and its action is at most a next action. `masks` is 0 where the value of the next
    observation must not count. Observations are float32, or uint8 for images; those of several named parts are one
    structured column, as `guidedflow.packing.pack` makes it. `weights`, where there are any, are for
    drawing steps more often or less. Columns of JAX's are taken to the host. Raises `InputError` for columns that are
    no arrays or of another length, for a number that is not finite, for a mask outside [0, 1], for a weight below 0,
    and for an episode that does not end.
    """

    name: str
    observations: Shaped[np.ndarray, " rows *observation"]
    actions: Float32[np.ndarray, "rows action"]
    rewards: Float32[np.ndarray, " rows"]
    masks: Float32[np.ndarray, " rows"]
    last: Bool[np.ndarray, " rows"]
    goals: Shaped[np.ndarray, " rows *goal"] | None = None
    """What each row is as a goal, where the data is goal-conditioned; rewards and masks then count for nothing."""
    weights: Float32[np.ndarray, " rows"] | None = None
    action_scale: ActionScale | None = None
    """How actions were mapped into [-1, 1], where they had other units; no column, and no part of the contents."""

    def __post_init__(self) -> None:
        given = self.observations
        for key in ("observations", "actions", "rewards", "masks", "last", "goals", "weights"):
            column: Any = getattr(self, key)
            if column is None and key in ("goals", "weights"):
                continue
            if key == "goals" and column is given:
                object.__setattr__(self, key, self.observations)
                continue
            object.__setattr__(self, key, _plain(self.name, key, column))
        shapes = {"actions": ("float32", 2), "rewards": ("float32", 1), "masks": ("float32", 1), "last": ("bool", 1)}
        for key, (kind, rank) in shapes.items():
            found: np.ndarray = getattr(self, key)
            if found.dtype != kind or found.ndim != rank:
                told = f"{kind}[{'rows, numbers' if rank == 2 else 'rows'}]"
                raise InputError(
                    f"dataset {self.name!r}: {key} must be {told}, but is {found.dtype}{list(found.shape)}"
                )
        self._check_columns()
        self._check_limits()
        if not len(self.last) or not self.last[-1]:
            raise InputError(f"dataset {self.name!r}: the final row must end an episode, but `last` is not True there")

    def _check_columns(self) -> None:
        """Raise `InputError` for columns of different lengths, numbers that are not finite, and goals that do not fit.

        A column that plays two parts is scanned once.
        """
        scanned: set[int] = set()
        for key, column in self._columns().items():
            if len(column) != len(self.observations):
                raise InputError(
                    f"dataset {self.name!r}: {key} has {len(column)} rows, observations has {len(self.observations)}"
                )
            if id(column) not in scanned and (row := first_unfinite_row(column)) is not None:
                raise UnfiniteColumn(self.name, key, row)
            scanned.add(id(column))
        seen, wanted = self.observations, self.goals
        if wanted is not None and (seen.dtype != wanted.dtype or seen.shape[:-1] != wanted.shape[:-1]):
            raise InputError(
                f"dataset {self.name!r}: goals must be joined to the observations along their last axis, but they are "
                f"{wanted.dtype}{list(wanted.shape)}, the observations {seen.dtype}{list(seen.shape)}"
            )

    def _check_limits(self) -> None:
        """Raise `InputError` for weights below 0 and masks outside [0, 1]."""
        limits = ("weights", self.weights, np.inf, "at least 0"), ("masks", self.masks, 1, "between 0 and 1")
        for key, column, high, told in limits:
            if column is not None and (wrong := (column < 0) | (column > high)).any():
                row = int(np.argmax(wrong))
                raise InputError(f"dataset {self.name!r}: {key} must be {told}, found {column[row]} in row {row}")

    def __len__(self) -> int:
        """Number of transitions."""
        return len(self.last) - self.episodes

    def __repr__(self) -> str:
        columns = [f"{key}={column.dtype}{list(column.shape)}" for key, column in self._columns().items()]
        return f"Dataset({self.name!r}, episodes={self.episodes}, transitions={len(self)}, {', '.join(columns)})"

    @property
    def goal_conditioned(self) -> bool:
        """Whether it is for reaching goals of its own, and not for rewards."""
        return self.goals is not None

    @property
    def observation_shape(self) -> Shape:
        """Shape of one observation."""
        return shape_of(self.observations.shape[1:], self.observations.dtype)

    @property
    def observation_dtype(self) -> np.dtype[Any]:
        """Type of an observation's numbers."""
        return self.observations.dtype

    @cached_property
    def episodes(self) -> int:
        """Number of episodes."""
        return int(np.count_nonzero(self.last))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the contents, shapes and types in hexadecimal digits; the name does not count."""
        digest = hashlib.sha256()
        for key, column in self._columns().items():
            digest.update(f"{key} {type_of(column.dtype)} {column.shape}\n".encode())
            digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()

    @cached_property
    def actions_outside(self) -> Excess:
        """How much of its actions lies outside [-1, 1]."""
        wrong = (np.abs(self.actions) > 1 + TOLERANCE) & ~self.last[:, None]
        rows = np.flatnonzero(wrong.any(axis=1))
        numbers = len(self) * self.actions.shape[1]
        share = np.count_nonzero(wrong) / numbers if numbers else 0.0
        largest = float(np.abs(self.actions[~self.last]).max(initial=0))
        return Excess(share, int(rows[0]) if rows.size else None, largest)

    def with_actions(self, actions: Float32[np.ndarray, "rows action"], scale: ActionScale | None) -> "Dataset":
        """The dataset with these actions inside [-1, 1], mapped by `scale`; no column is checked a second time."""
        made = self._derived(actions=actions, action_scale=scale)
        made.__dict__["actions_outside"] = Excess(0.0, None, float(np.abs(actions[~self.last]).max(initial=0)))
        return made

    def with_goals(self, itself: bool) -> "Dataset":
        """The dataset with its observations as goals, or without goals; no column is checked a second time."""
        return self._derived(goals=self.observations if itself else None)

    def with_rewards(self, rewards: Float32[np.ndarray, " rows"]) -> "Dataset":
        """The dataset with other rewards, which must be finite; no column is checked a second time."""
        return self._derived(rewards=rewards)

    def _derived(self, **changes: Any) -> "Dataset":
        """A copy with changes that need no check."""
        made = object.__new__(Dataset)
        made.__dict__.update({field.name: getattr(self, field.name) for field in fields(self)} | changes)
        return made

    def cut(self, discount: float = 0.99, horizon: int = 1, chunk: bool = False, frame_stack: int = 1) -> "Transitions":
        """All transitions, on the device; `discount` is of one step.

        A transition spans `horizon` steps, fewer where its episode ends before: its reward is the discounted sum over
        them, and its own discount is that of its next observation, 0 where a mask was. Nothing after a mask of 0
        counts. With `chunk` its action is all actions of these steps as one, and only whole chunks are cut. An
        observation is the last `frame_stack` of its episode, the oldest first, along the last axis; the episode's
        first stands in where there are none before it. Raises `InputError` where no episode is long enough for one.
        """
        found = self.cut_rows(discount, horizon, chunk)
        return Transitions.of(self.observations, self.actions, found, horizon if chunk else 1, frame_stack)

    def cut_rows(self, discount: float, horizon: int, chunk: bool) -> Cut:
        """Where the transitions of `cut` are. Raises `InputError` where no episode is long enough for one."""
        found = Cut.of(self.rewards, self.masks, self.last, discount, horizon, chunk)
        if not len(found.starts):
            longest = int(np.max(np.diff(np.flatnonzero(self.last), prepend=-1))) - 1
            raise no_transition(self.name, horizon, longest)
        return found

    def _columns(self) -> dict[str, np.ndarray]:
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: column for name, column in columns.items() if isinstance(column, np.ndarray)}


def _plain(name: str, key: str, column: Any) -> np.ndarray:
    """A column on the host, in the machine's order of bytes; observations and goals as float32, or bytes as they are.

    Raises `InputError` for what is no array of numbers, and for one with numbers that are masked.
    """
    column = np.asarray(column) if isinstance(column, jax.Array) else column
    if not isinstance(column, np.ndarray):
        raise InputError(f"dataset {name!r}: {key} must be an array, but is a {type(column).__name__}")
    if isinstance(column, np.ma.MaskedArray):
        if (masked := np.ma.getmaskarray(column).reshape(len(column), -1).any(axis=1)).any():
            row = int(np.argmax(masked))
            raise InputError(f"dataset {name!r}: {key} is masked in row {row}; fill it in, or leave that episode out")
        column = column.data
    if key == "observations" and column.dtype.names is not None:
        return _packed(name, column) if _is_foreign(column.dtype) else column
    if key in ("observations", "goals"):
        if column.dtype.kind not in "bfiu":
            raise InputError(f"dataset {name!r}: {key} must be numbers, but are {column.dtype}")
        return column if column.dtype == np.uint8 else column.astype(np.float32, copy=False)
    return column if column.dtype.isnative else column.astype(column.dtype.newbyteorder("="))


def _packed(name: str, column: np.ndarray) -> np.ndarray:
    """A structured column with its parts as networks take them. Raises `InputError` for parts that none takes."""
    return pack({part: _plain(name, "observations", own) for part, own in unpacked(column).items()})


def _is_foreign(dtype: np.dtype[Any]) -> bool:
    """Whether a structured type is not the one of its parts."""
    shape = shape_of((), dtype)
    return not isinstance(shape, PartShapes) or dtype != dtype_of(shape)


def first_unfinite_row(column: np.ndarray) -> int | None:
    """Index of the first row with a NaN or an infinity; block by block, so that no second copy is made."""
    if column.dtype.names is not None:
        rows = [row for part in unpacked(column).values() if (row := first_unfinite_row(part)) is not None]
        return min(rows, default=None)
    if column.dtype.kind != "f":
        return None
    block = max(1, 2**20 // max(1, column[:1].size))
    for begin in range(0, len(column), block):
        finite = np.isfinite(column[begin : begin + block])
        if not finite.all():
            return begin + int(np.argmin(finite.reshape(len(finite), -1).all(axis=1)))
    return None
