"""Transitions, as they are cut from episodes and drawn into batches.

What follows a transition is settled here: horizon, discount, chunks, frames. No suite or file is known here.
"""

from dataclasses import fields
from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int32, PRNGKeyArray, Shaped

from guidedflow.data.drawing import UNIFORM, Drawing
from guidedflow.errors import InputError
from guidedflow.types import Transition


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
