"""Transitions, as they are cut from episodes and drawn into batches.

What follows a transition is settled here: horizon, discount, chunks, frames. So is what is done to a batch when it is
drawn: goals and crops. No suite or file is known here.
"""

from dataclasses import fields, replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int32, PRNGKeyArray, Shaped

from guidedflow.data.drawing import UNIFORM, Drawing
from guidedflow.data.sampling.crops import crop_batch
from guidedflow.data.sampling.goals import Goals, Mixture
from guidedflow.errors import InputError
from guidedflow.parts import Parts, on_device
from guidedflow.types import Scalar, Transition


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

    @classmethod
    def of(
        cls,
        rewards: Float32[np.ndarray, " rows"],
        masks: Float32[np.ndarray, " rows"],
        last: Bool[np.ndarray, " rows"],
        discount: float,
        horizon: int,
        chunk: bool,
    ) -> "Cut":
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
        return cls(sums, alive * powers[nexts - starts], starts, nexts, firsts, ends[starts])


class Transitions(eqx.Module):
    """Transitions on the device: a pytree, so that a compiled update takes it as an argument and draws from it.

    Runs of several discounts share all but rewards and discounts, of which there is then one row a discount. Each run
    draws from what `of_row` gives it.
    """

    observations: Shaped[Array, " rows *observation"] | Parts
    actions: Float[Array, "rows action"]
    rewards: Float[Array, "*settings transitions"]
    discounts: Float[Array, "*settings transitions"]
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
    goals: Goals | None = None
    """How goals are drawn for each transition, where the data is goal-conditioned."""
    crops: float | Scalar | None = None
    """Probability that the images of a batch are cropped; None: never."""
    shares: Int[Array, " runs"] | None = None
    """Which of several discounts each row of a training state has."""

    @classmethod
    def of(
        cls,
        observations: Shaped[Array | np.ndarray, " rows *observation"] | Parts,
        actions: Float32[Array | np.ndarray, "rows action"],
        cut: Cut,
        chunk: int = 1,
        frames: int = 1,
        drawing: Drawing = UNIFORM,
        goals: Goals | None = None,
        crops: float | Scalar | None = None,
    ) -> "Transitions":
        """On the device, from rows on the host."""
        needed = {name: jnp.asarray(column) for name, column in cut._asdict().items() if name != "firsts" or frames > 1}
        rows = on_device(observations), jnp.asarray(actions)
        return cls(*rows, **needed, chunk=chunk, frames=frames, drawing=drawing, goals=goals, crops=crops)

    def __len__(self) -> int:
        return self.starts.shape[0]

    def __repr__(self) -> str:
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        shapes = [f"{name}={getattr(column, 'shape', column)}" for name, column in columns.items()]
        return f"Transitions({', '.join(shapes)})"

    def example(self) -> Transition:
        """The first transition, without a batch axis: what an algorithm's `init` needs to know shapes.

        Where goals are drawn, its goal is its own state.
        """
        first = jnp.zeros(1, jnp.int32)
        batch = self.take(first)
        if self.goals is not None:
            batch = self.relabelled(batch, first, self.starts[first], self.starts[first])
        return jax.tree.map(lambda column: column[0], batch)

    def of_row(self, row: int | Int[Array, ""]) -> "Transitions":
        """What one row of a training state draws from; of one discount this is all of it."""
        if self.shares is None:
            return self
        share = self.shares[row]
        return replace(self, rewards=self.rewards[share], discounts=self.discounts[share], shares=None)

    def at(self, step: int) -> "Transitions":
        """What update `step` draws from: at every step all that is in memory."""
        return self

    def survey(self) -> "Transitions":
        """All that is in memory."""
        return self

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
    ) -> Shaped[Array, " batch *observation"] | Parts:
        """The observations of these rows, each behind those before it; before an episode's first row it is repeated."""
        if self.firsts is None:
            return jax.tree.map(lambda column: column[rows], self.observations)
        ages = jnp.arange(self.frames - 1, -1, -1, dtype=rows.dtype)
        frames = jnp.maximum(rows[:, None] - ages[None, :], self.firsts[indices][:, None])

        def stacked(column: Shaped[Array, " rows *part"]) -> Shaped[Array, " batch *frames"]:
            found = jnp.moveaxis(column[frames], 1, -2)
            return found.reshape(*found.shape[:-2], -1)

        return jax.tree.map(stacked, self.observations)

    def _actions(self, indices: Int[Array, " batch"], rows: Int[Array, " batch"]) -> Float[Array, "batch action"]:
        """The actions from these rows on, a chunk as one; at an episode's end its final row is repeated."""
        if self.chunk == 1:
            return self.actions[rows]
        steps = jnp.arange(self.chunk, dtype=rows.dtype)
        chunks = jnp.minimum(rows[:, None] + steps[None, :], self.ends[indices][:, None])
        return self.actions[chunks].reshape(len(rows), -1)

    def sample(self, key: PRNGKeyArray, batch_size: int) -> Transition:
        """A batch drawn with replacement, with goals and crops; to be traced inside a compiled update."""
        if self.goals is None:
            batch = self.take(self.draw(key, batch_size))
        else:
            draw_key, value_key, actor_key = jax.random.split(key, 3)
            indices = self.draw(draw_key, batch_size)
            value_rows = self.goal_rows(value_key, indices, self.goals.value)
            actor_rows = self.goal_rows(actor_key, indices, self.goals.actor)
            batch = self.relabelled(self.take(indices), indices, value_rows, actor_rows)
        return batch if self.crops is None else crop_batch(batch, key, self.crops)

    def goal_rows(self, key: PRNGKeyArray, indices: Int[Array, " batch"], mixture: Mixture) -> Int[Array, " batch"]:
        """A goal for each transition, as a row."""
        assert self.goals is not None
        source_key, later_key, any_key = jax.random.split(key, 3)
        anywhere = self.starts[self.draw(any_key, len(indices))]
        here, final = self.starts[indices], self.ends[indices] - 1
        return self.goals.rows(source_key, later_key, mixture, here, final, anywhere)

    def relabelled(
        self,
        batch: Transition,
        indices: Int[Array, " batch"],
        value_goals: Int[Array, " batch"],
        actor_goals: Int[Array, " batch"],
    ) -> Transition:
        """The transitions of these indices under goals that are these rows; the data's own rewards are left out."""
        assert self.goals is not None
        here, after = self.starts[indices], self.nexts[indices]
        return self.goals.relabelled(batch, here, after, value_goals, actor_goals)


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
