"""Episodes as columns over rows, and the transitions cut from them.

Two different things end a transition's future: `masks` says whether to bootstrap from its next observation, `last`
where a recording stops. An observation is stored once; a transition is a pair of indices into the rows. This module
does not know of files, suites, environments or algorithms.
"""

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int32, PRNGKeyArray, Shaped

from guidedflow.data.drawing import UNIFORM, Drawing
from guidedflow.errors import InputError
from guidedflow.types import Transition
from guidedflow.units import ActionScale


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Episodes end to end; an episode of L actions has L + 1 rows.

    The final row of an episode, where `last` is True, only holds its last observation: reward and mask of that row
    belong to no transition, and its action is at most a next action. `masks` is 0 where the value of the next
    observation must not count. Observations are float32, or uint8 for images. `weights`, where there are any, are for
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
        for key in ("observations", "actions", "rewards", "masks", "last", "goals", "weights"):
            column: Any = getattr(self, key)
            if isinstance(column, jax.Array):
                object.__setattr__(self, key, np.asarray(column))
            elif not isinstance(column, np.ndarray) and (column is not None or key not in ("goals", "weights")):
                told = f"{key} must be an array, but is a {type(column).__name__}"
                raise InputError(f"dataset {self.name!r}: {told}")
        rows = len(self.observations)
        shapes = {"actions": ("float32", 2), "rewards": ("float32", 1), "masks": ("float32", 1), "last": ("bool", 1)}
        for key, (kind, rank) in shapes.items():
            found: np.ndarray = getattr(self, key)
            if found.dtype != kind or found.ndim != rank:
                told = f"{kind}[{'rows, numbers' if rank == 2 else 'rows'}]"
                raise InputError(
                    f"dataset {self.name!r}: {key} must be {told}, but is {found.dtype}{list(found.shape)}"
                )
        for key, column in self._columns().items():
            if len(column) != rows:
                raise InputError(f"dataset {self.name!r}: {key} has {len(column)} rows, observations has {rows}")
            if (row := first_unfinite_row(column)) is not None:
                raise InputError(f"dataset {self.name!r}: {key} is not finite in row {row}")
        seen, wanted = self.observations, self.goals
        if wanted is not None and (seen.dtype != wanted.dtype or seen.shape[:-1] != wanted.shape[:-1]):
            raise InputError(
                f"dataset {self.name!r}: goals must be joined to the observations along their last axis, but they are "
                f"{wanted.dtype}{list(wanted.shape)}, the observations {seen.dtype}{list(seen.shape)}"
            )
        limits = ("weights", self.weights, np.inf, "at least 0"), ("masks", self.masks, 1, "between 0 and 1")
        for key, column, high, told in limits:
            if column is not None and (wrong := (column < 0) | (column > high)).any():
                row = int(np.argmax(wrong))
                raise InputError(f"dataset {self.name!r}: {key} must be {told}, found {column[row]} in row {row}")
        if rows == 0 or not self.last[-1]:
            raise InputError(f"dataset {self.name!r}: the final row must end an episode, but `last` is not True there")

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

    @cached_property
    def episodes(self) -> int:
        """Number of episodes."""
        return int(np.count_nonzero(self.last))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the contents, shapes and types in hexadecimal digits; the name does not count."""
        digest = hashlib.sha256()
        for key, column in self._columns().items():
            digest.update(f"{key} {column.dtype.str} {column.shape}\n".encode())
            digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()

    def cut(self, discount: float = 0.99, horizon: int = 1, chunk: bool = False, frame_stack: int = 1) -> "Transitions":
        """All transitions, on the device; `discount` is of one step.

        A transition spans `horizon` steps, fewer where its episode ends before: its reward is the discounted sum over
        them, and its own discount is that of its next observation, 0 where a mask was. Nothing after a mask of 0
        counts. With `chunk` its action is all actions of these steps as one, and only whole chunks are cut. An
        observation is the last `frame_stack` of its episode, the oldest first, along the last axis; the episode's
        first stands in where there are none before it. Raises `InputError` where no episode is long enough for one.
        """
        found = cut(self.rewards, self.masks, self.last, discount, horizon, chunk)
        if not len(found.starts):
            longest = int(np.max(np.diff(np.flatnonzero(self.last), prepend=-1))) - 1
            raise no_transition(self.name, horizon, longest)
        return Transitions.of(self.observations, self.actions, found, horizon if chunk else 1, frame_stack)

    def _columns(self) -> dict[str, np.ndarray]:
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: column for name, column in columns.items() if isinstance(column, np.ndarray)}


@runtime_checkable
class Batches(Protocol):
    """What a compiled update draws from: a pytree of transitions, as they were cut or with something done to them."""

    def example(self) -> Transition:
        """One transition, without a batch axis: what an algorithm's `init` needs to know shapes."""
        ...

    def sample(self, key: PRNGKeyArray, batch_size: int) -> Transition:
        """A batch, each field with a leading axis; to be traced inside a compiled update."""
        ...


class Cut(NamedTuple):
    """Where transitions are among the rows, and what they are worth."""

    rewards: Float32[np.ndarray, " transitions"]
    discounts: Float32[np.ndarray, " transitions"]
    starts: Int32[np.ndarray, " transitions"]
    nexts: Int32[np.ndarray, " transitions"]
    firsts: Int32[np.ndarray, " transitions"]
    """First row of each transition's episode."""
    ends: Int32[np.ndarray, " transitions"]
    """Final row of each transition's episode."""


def cut(
    rewards: Float32[np.ndarray, " rows"],
    masks: Float32[np.ndarray, " rows"],
    last: Bool[np.ndarray, " rows"],
    discount: float,
    horizon: int,
    chunk: bool,
) -> Cut:
    """The transitions of whole episodes, in the order of their rows; see `Dataset.cut`."""
    rows = np.arange(len(last), dtype=np.int32)
    finals = np.flatnonzero(last).astype(np.int32)
    episodes = np.searchsorted(finals, rows)
    ends = finals[episodes]
    starts = np.flatnonzero(rows + (horizon if chunk else 1) <= ends).astype(np.int32)
    nexts = np.minimum(starts + np.int32(horizon), ends[starts])
    sums, alive = rewards[starts].copy(), masks[starts].copy()
    for ahead in range(1, horizon):
        inside = np.flatnonzero(starts + ahead < nexts)
        row = starts[inside] + ahead
        sums[inside] += np.float32(discount**ahead) * alive[inside] * rewards[row]
        alive[inside] *= masks[row]
    powers = np.power(discount, np.arange(horizon + 1)).astype(np.float32)
    firsts = np.append(np.int32(0), finals[:-1] + np.int32(1))[episodes[starts]]
    return Cut(sums, alive * powers[nexts - starts], starts, nexts, firsts, ends[starts])


class Transitions(eqx.Module):
    """Transitions on the device: a pytree, so that a compiled update takes it as an argument and draws from it."""

    observations: Shaped[Array, " rows *observation"]
    actions: Float[Array, "rows action"]
    rewards: Float[Array, " transitions"]
    discounts: Float[Array, " transitions"]
    starts: Int[Array, " transitions"]
    nexts: Int[Array, " transitions"]
    ends: Int[Array, " transitions"]
    """Final row of each transition's episode."""
    firsts: Int[Array, " transitions"] | None = None
    """First row of each transition's episode, where observations are stacked."""
    chunk: int = eqx.field(static=True, default=1)
    """Actions that make one."""
    frames: int = eqx.field(static=True, default=1)
    """Rows that make an observation."""
    drawing: Drawing = UNIFORM
    """How batches are drawn."""

    @classmethod
    def of(
        cls,
        observations: Shaped[Array | np.ndarray, " rows *observation"],
        actions: Float32[Array | np.ndarray, "rows action"],
        cut: Cut,
        chunk: int = 1,
        frames: int = 1,
        drawing: Drawing = UNIFORM,
    ) -> "Transitions":
        """On the device, from rows on the host."""
        needed = {name: jnp.asarray(column) for name, column in cut._asdict().items() if name != "firsts" or frames > 1}
        return cls(
            jnp.asarray(observations), jnp.asarray(actions), **needed, chunk=chunk, frames=frames, drawing=drawing
        )

    def __len__(self) -> int:
        return self.starts.shape[0]

    def __repr__(self) -> str:
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        shapes = [f"{name}={getattr(column, 'shape', column)}" for name, column in columns.items()]
        return f"Transitions({', '.join(shapes)})"

    def example(self) -> Transition:
        """The first transition, without a batch axis: what an algorithm's `init` needs to know shapes."""
        return jax.tree.map(lambda column: column[0], self.take(jnp.zeros(1, jnp.int32)))

    def draw(self, key: PRNGKeyArray, batch_size: int) -> Int[Array, " batch"]:
        """Indices of a batch, with replacement."""
        return self.drawing(key, batch_size, len(self))

    def every(self) -> Transition:
        """All transitions that may be drawn, in order, each field with a leading axis."""
        return self.take(jnp.asarray(self.drawing.every(len(self))))

    def take(self, indices: Int[Array, " batch"]) -> Transition:
        """The transitions of these indices, each field with a leading batch axis."""
        starts, nexts = self.starts[indices], self.nexts[indices]
        return Transition(
            observation=self._observations(indices, starts),
            action=self._actions(indices, starts),
            reward=self.rewards[indices],
            discount=self.discounts[indices],
            next_observation=self._observations(indices, nexts),
            next_action=self._actions(indices, nexts),
        )

    def _observations(
        self, indices: Int[Array, " batch"], rows: Int[Array, " batch"]
    ) -> Shaped[Array, " batch *observation"]:
        """The observations of these rows, each behind those before it; before an episode's first row it is repeated."""
        if self.firsts is None:
            return self.observations[rows]
        ages = jnp.arange(self.frames - 1, -1, -1, dtype=rows.dtype)
        frames = jnp.maximum(rows[:, None] - ages[None, :], self.firsts[indices][:, None])
        stacked = jnp.moveaxis(self.observations[frames], 1, -2)
        return stacked.reshape(*stacked.shape[:-2], -1)

    def _actions(self, indices: Int[Array, " batch"], rows: Int[Array, " batch"]) -> Float[Array, "batch action"]:
        """The actions from these rows on, a chunk as one; at an episode's end its final row is repeated."""
        if self.chunk == 1:
            return self.actions[rows]
        steps = jnp.arange(self.chunk, dtype=rows.dtype)
        chunks = jnp.minimum(rows[:, None] + steps[None, :], self.ends[indices][:, None])
        return self.actions[chunks].reshape(len(rows), -1)

    def sample(self, key: PRNGKeyArray, batch_size: int) -> Transition:
        """A batch drawn with replacement; a gather, to be traced inside a compiled update."""
        return self.take(self.draw(key, batch_size))


def no_transition(name: str, horizon: int, longest: int) -> InputError:
    """The sentence about a horizon that is longer than every episode, even one of no steps."""
    if not longest:
        return InputError(
            f"dataset {name!r} has no transition: none of its episodes has a step and an observation after it; do they "
            "end where you think they do?"
        )
    return InputError(
        f"dataset {name!r}: a chunk of {horizon} steps fits into no episode, the longest has {longest}; lower --horizon"
    )


def first_unfinite_row(column: np.ndarray) -> int | None:
    """Index of the first row with a NaN or an infinity; block by block, so that no second copy is made."""
    if column.dtype.kind != "f":
        return None
    block = max(1, 2**20 // max(1, column[:1].size))
    for begin in range(0, len(column), block):
        finite = np.isfinite(column[begin : begin + block])
        if not finite.all():
            return begin + int(np.argmin(finite.reshape(len(finite), -1).all(axis=1)))
    return None
