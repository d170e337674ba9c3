"""Fitted Q evaluation: an ensemble of critics of one policy, fitted to recorded transitions.

    q_m(s, a) <- r + gamma q_m(s', a')   for each member m, on its own bootstrap resample of episodes

Targets are limited by what recorded rewards can sum up to, so no estimate diverges. This module does not know where
transitions or actions come from, nor what is made of the members' estimates.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, Int, PRNGKeyArray, Shaped

from guidedflow.evaluation.recorded import FIT, RESAMPLES, Chosen, Judge, Recorded
from guidedflow.networks import Critic
from guidedflow.packing import shape_of, unpacked
from guidedflow.parts import Parts

ROWS = 1024
"""Observations at which critics are asked in one compiled call."""


class _Data(eqx.Module):
    """What critics are fitted to, in their units."""

    observations: Shaped[Array, " n *observation"] | Parts
    actions: Float[Array, "n action"]
    rewards: Float[Array, " n"]
    discounts: Float[Array, " n"]
    next_observations: Shaped[Array, " n *observation"] | Parts
    next_actions: Float[Array, "n action"]
    weights: Float[Array, "n members"]
    low: Float[Array, ""]
    high: Float[Array, ""]
    offset: Float[Array, ""]
    scale: Float[Array, ""]


def fitted(recorded: Recorded, chosen: Chosen, judge: Judge) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each member's estimate near the end and at the end of its fit, and its mean over all next observations."""
    counts = resamples(len(recorded.first_observations), judge)
    seen = _standardised(recorded)
    offset, deviation = recorded.typical
    low, high = bounds(recorded.rewards, recorded.discounts)
    data = _Data(
        seen(recorded.observations), jnp.asarray(recorded.actions), jnp.asarray(recorded.rewards),
        jnp.asarray(recorded.discounts), seen(recorded.next_observations), jnp.asarray(chosen.next_actions),
        jnp.asarray(counts[:, recorded.episodes].T), *(jnp.float32(x) for x in (low, high, offset, deviation or 1.0)),
    )  # fmt: skip
    init, key = jax.random.split(judge.key(FIT))
    shape = shape_of(recorded.observations.shape[1:], recorded.observations.dtype)
    critic = Critic(shape, recorded.actions.shape[1], judge.hidden, size=judge.members, key=init)
    state = critic, critic, optax.adam(_rate(judge)).init(critic)
    first = seen(recorded.first_observations), jnp.asarray(chosen.first_actions)
    late = judge.steps - judge.steps // 10
    values = []
    for begin, end in ((0, late), (late, judge.steps)):
        state = _train(state, data, key, jnp.int32(begin), jnp.int32(end), judge)
        each = np.asarray(_at_first(state[0], data, *first), np.float64)
        values.append((each * counts).sum(1) / counts.sum(1))
    return values[0], values[1], np.asarray(_everywhere(state[0], data), np.float64)


def resamples(episodes: int, judge: Judge) -> Float32[np.ndarray, "members episodes"]:
    """How often each member's bootstrap resample holds each episode; the same for every policy."""
    draws = jax.random.randint(judge.key(RESAMPLES), (judge.members, episodes), 0, episodes)
    return np.stack([np.bincount(row, minlength=episodes) for row in np.asarray(draws)]).astype(np.float32)


def bounds(rewards: Float32[np.ndarray, " n"], discounts: Float32[np.ndarray, " n"]) -> tuple[float, float]:
    """Limits of a target: the range of discounted sums that these rewards allow, widened by its width on both sides.

    Limits at the range itself would cut the noise of values near its end on one side only, and so move their mean.
    Infinite where nothing is discounted.
    """
    gamma = float(discounts.max(initial=0.0))
    longest = 1 / (1 - gamma) if gamma < 1 else math.inf
    low, high = (float(each) * longest if each else 0.0 for each in (min(rewards.min(), 0), max(rewards.max(), 0)))
    width = high - low
    return (low - width, high + width) if math.isfinite(width) else (-math.inf, math.inf)


def _rate(judge: Judge) -> optax.Schedule:
    return optax.cosine_decay_schedule(judge.learning_rate, judge.steps)


_State = tuple[Critic, Critic, optax.OptState]


@partial(jax.jit, static_argnames="judge")
def _train(state: _State, data: _Data, key: PRNGKeyArray, begin: Array, end: Array, judge: Judge) -> _State:
    """Updates `begin` to `end` of critics, target critics and optimiser."""
    optimizer = optax.adam(_rate(judge))

    def loss(critic: Critic, target: Critic, rows: Int[Array, " batch"]) -> Float[Array, ""]:
        following = _values(target, _at(data.next_observations, rows), data.next_actions[rows])
        if judge.pessimism:
            following = following - judge.pessimism * jnp.std(following, axis=1, keepdims=True)
        bounded = jnp.clip(data.offset + data.scale * following, data.low, data.high)
        sums = data.rewards[rows][:, None] + data.discounts[rows][:, None] * bounded
        errors = _values(critic, _at(data.observations, rows), data.actions[rows]) - (sums - data.offset) / data.scale
        return jnp.mean(jnp.sum(data.weights[rows] * jnp.square(errors), axis=1))

    def update(step: Array, state: _State) -> _State:
        critic, target, moments = state
        rows = jax.random.randint(jax.random.fold_in(key, step), (judge.batch_size,), 0, len(data.rewards))
        with jax.numpy_dtype_promotion("standard"):  # Adam raises its decay to the power of an integer count
            changes, moments = optimizer.update(jax.grad(loss)(critic, target, rows), moments)
            critic = optax.apply_updates(critic, changes)
            target = optax.incremental_update(critic, target, judge.tau)
        return critic, target, moments

    found: _State = jax.lax.fori_loop(begin, end, update, state)
    return found


@jax.jit
def _at_first(
    critic: Critic, data: _Data, observations: Array | Parts, actions: Float[Array, "episodes draws action"]
) -> Float[Array, "members episodes"]:
    """Each member's mean value of the draws at each first observation."""
    values = jax.vmap(lambda o, draws: jnp.mean(jax.vmap(critic.given(o))(draws), axis=0))(observations, actions)
    return jnp.clip(data.offset + data.scale * values, data.low, data.high).T


@jax.jit
def _everywhere(critic: Critic, data: _Data) -> Float[Array, " members"]:
    """Each member's mean value at the next observations that do not end an episode."""
    alive = jnp.where(data.discounts > 0, 1.0, 0.0)[:, None]
    values = jax.lax.map(
        lambda at: critic.given(at[0])(at[1]), (data.next_observations, data.next_actions), batch_size=ROWS
    )
    bounded = jnp.clip(data.offset + data.scale * values, data.low, data.high)
    return jnp.sum(alive * bounded, axis=0) / jnp.maximum(jnp.sum(alive), 1.0)


def _at(observations: Array | Parts, rows: Int[Array, " batch"]) -> Array | Parts:
    """Some rows, of each part."""
    return observations.map(lambda part: part[rows]) if isinstance(observations, Parts) else observations[rows]


def _values(critic: Critic, observations: Array | Parts, actions: Array) -> Float[Array, "batch members"]:
    return jax.vmap(lambda observation, action: critic.given(observation)(action))(observations, actions)


def _standardised(recorded: Recorded) -> "Callable[[np.ndarray], Array | Parts]":
    """States in deviations from their recorded mean, images as they are; the same of each of several parts."""
    if recorded.observations.dtype.names is None:
        return _Standard.of(recorded.observations).__call__
    each = {name: _Standard.of(part) for name, part in unpacked(recorded.observations).items()}
    return lambda column: Parts({name: each[name](part) for name, part in unpacked(column).items()})


class _Standard(NamedTuple):
    mean: Float[np.ndarray, "*observation"] | None
    deviation: Float[np.ndarray, "*observation"] | None

    @classmethod
    def of(cls, column: Shaped[np.ndarray, " n *observation"]) -> "_Standard":
        if column.dtype == np.uint8:
            return cls(None, None)
        wide = column.astype(np.float64)
        deviation = wide.std(axis=0)
        return cls(wide.mean(axis=0), np.where(deviation > 1e-6, deviation, 1.0))

    def __call__(self, observations: Shaped[np.ndarray, " n *observation"]) -> Shaped[Array, " n *observation"]:
        if self.mean is None or self.deviation is None:
            return jnp.asarray(observations)
        return jnp.asarray(((observations - self.mean) / self.deviation).astype(np.float32))
