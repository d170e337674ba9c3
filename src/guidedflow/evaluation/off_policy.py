"""Off-policy evaluation: what a policy would earn, estimated from recorded transitions by fitted Q evaluation.

    Recorded    held-out transitions, and the first observation of each of their episodes
    Chosen      the actions that a frozen policy takes at the next and the first observations, drawn once
    Judge       settings of the critics
    judged      q_m(s, a) <- r + gamma q_m(s', a') until steps end, and its value at first observations

Each member m of the ensemble has its own initial parameters and its own bootstrap resample of episodes. The spread of
the members' estimates therefore contains the randomness of the episodes and of the critics (arXiv 2102.03607). The
critics here are always new: a critic that guides or chooses actions is never asked. Targets are limited by what
recorded rewards can sum up to, so no estimate diverges.
This module does not know where transitions or policies come from.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, Int, Key, PRNGKeyArray, Shaped

from guidedflow.errors import InputError
from guidedflow.keys import Stream, stream_key
from guidedflow.networks import Critic
from guidedflow.policies.policy import Policy
from guidedflow.results import confidence
from guidedflow.results.confidence import LEVEL, Interval
from guidedflow.settings import check_ranges

ROWS = 1024
"""Observations at which a policy acts in one compiled call."""


FARTHEST = 1.0
"""Distance of actions that predict the recorded ones as badly as their mean does; beyond it values do not rank."""


class Recorded(NamedTuple):
    """Transitions that were recorded by another policy, and where their episodes begin."""

    observations: Shaped[np.ndarray, " n *observation"]
    actions: Float32[np.ndarray, "n action"]
    rewards: Float32[np.ndarray, " n"]
    discounts: Float32[np.ndarray, " n"]
    """Of the next observation: gamma, and 0 where the episode terminated."""
    next_observations: Shaped[np.ndarray, " n *observation"]
    next_actions: Float32[np.ndarray, "n action"]
    """What was recorded after the transition."""
    episodes: Int[np.ndarray, " n"]
    """Index of each transition's episode."""
    first_observations: Shaped[np.ndarray, " episodes *observation"]
    first_actions: Float32[np.ndarray, "episodes action"]
    returns: Float[np.ndarray, " episodes"]
    """Discounted return of each episode, as far as it was recorded."""
    typical: tuple[float, float]
    """Mean and deviation of the recorded returns that follow a transition: the units in which critics learn."""


class Chosen(NamedTuple):
    """Actions of one frozen policy."""

    next_actions: Float32[np.ndarray, "n action"]
    first_actions: Float32[np.ndarray, "episodes draws action"]


@dataclass(frozen=True)
class Judge:
    """Settings of fitted Q evaluation."""

    members: int = 4
    """Critics, each with its own resample of the episodes."""
    steps: int = 6_000
    """Updates of the critics."""
    transitions: int = 40_000
    """Transitions that are drawn from the held-out episodes, at most."""
    hidden: tuple[int, ...] = (64, 64)
    """Sizes of the hidden layers of each critic."""
    learning_rate: float = 1e-3
    """Step size of Adam, falling to 0 along a cosine."""
    tau: float = 0.02
    """Rate at which the target critics follow."""
    batch_size: int = 128
    """Transitions of one update."""
    draws: int = 8
    """Actions at each first observation."""
    pessimism: float = 0.0
    """Deviations between members that are subtracted from each target; above 0 actions that no data covers cost."""
    seed: int = 0
    """Chooses transitions, actions, resamples and initial parameters."""

    def __post_init__(self) -> None:
        check_ranges(
            self, members=(2, 100), steps=(1, math.inf), transitions=(1, math.inf), batch_size=(1, math.inf),
            draws=(1, math.inf), seed=(0, 2**31 - 1), learning_rate=(0, math.inf), tau=(0, 1),
            pessimism=(0, math.inf),
        )  # fmt: skip

    def key(self, purpose: int) -> PRNGKeyArray:
        """The key of one purpose, in the stream of judging."""
        return stream_key(self.seed, Stream.JUDGING, purpose)


ACTIONS, RESAMPLES, FIT = range(3)
"""Purposes of keys."""


@dataclass(frozen=True)
class Judgement:
    """Discounted return of one policy, estimated from recorded transitions."""

    value: float
    """Mean over members, at the first observations of the held-out episodes."""
    interval: Interval
    """Contains the randomness of episodes and critics, but no bias of the method."""
    everywhere: float
    """The same at all next observations, with the policy's actions there."""
    distance: float
    """Root mean squared distance from the policy's to the recorded actions, in deviations of recorded actions."""
    drift: float
    """Change of the value over the last tenth of the updates; a large one says that more are needed."""
    members: tuple[float, ...]
    """The value by each member, at the first observations of its resample of episodes."""

    @property
    def near(self) -> bool:
        """Whether the policy stays near enough to recorded actions for its value to count: at most `FARTHEST`."""
        return self.distance <= FARTHEST

    @property
    def order(self) -> tuple[bool, float]:
        """What policies are ranked by, larger for better: near ones by value, then the others by nearness."""
        return self.near, self.value if self.near else -self.distance


def act(policy: Policy, recorded: Recorded, judge: Judge) -> Chosen:
    """The actions of a policy, drawn once: at next observations, and `judge.draws` at each first observation.

    The policy is of one training seed, and acts in the box and at observations as they were recorded. Other policies
    draw from the same noise keys, which makes their comparison less noisy.
    """
    next_key, first_key = jax.random.split(judge.key(ACTIONS))
    first = np.repeat(recorded.first_observations, judge.draws, axis=0)
    return Chosen(
        _act(policy, recorded.next_observations, next_key),
        _act(policy, first, first_key).reshape(len(recorded.first_observations), judge.draws, -1),
    )


def as_recorded(recorded: Recorded) -> Chosen:
    """The actions of the policy that made the recording."""
    return Chosen(recorded.next_actions, recorded.first_actions[:, None])


def judged(recorded: Recorded, chosen: Sequence[Chosen], judge: Judge, level: float = LEVEL) -> Judgement:
    """Fitted Q evaluation of a policy, given its actions for each training seed; estimates are means over these seeds.

    Interval: Student's t with the deviation of the members' estimates, M - 1 degrees of freedom. The same judge and
    data give the same bits. Raises `InputError` for fewer than two episodes.
    """
    episodes = len(recorded.first_observations)
    if episodes < 2:
        raise InputError(
            f"Off-policy evaluation needs at least 2 held-out episodes, but found {episodes}; name other data by "
            "--dataset FILE, or hold out a larger share by `guidedflow data split`."
        )
    found = [_fitted(recorded, each, judge) for each in chosen]
    before, value, everywhere = (np.mean([each[i] for each in found], axis=0) for i in range(3))
    half = confidence.quantile(level, judge.members - 1) * float(np.std(value, ddof=1))
    centre = float(np.mean(value))
    return Judgement(
        value=centre,
        interval=confidence.around(centre, half, level, "t, bootstrapped critics"),
        everywhere=float(np.mean(everywhere)),
        distance=float(np.mean([_distance(recorded, each) for each in chosen])),
        drift=centre - float(np.mean(before)),
        members=tuple(map(float, value)),
    )


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


class _Data(eqx.Module):
    """What critics are fitted to, in their units."""

    observations: Shaped[Array, " n *observation"]
    actions: Float[Array, "n action"]
    rewards: Float[Array, " n"]
    discounts: Float[Array, " n"]
    next_observations: Shaped[Array, " n *observation"]
    next_actions: Float[Array, "n action"]
    weights: Float[Array, "n members"]
    low: Float[Array, ""]
    high: Float[Array, ""]
    offset: Float[Array, ""]
    scale: Float[Array, ""]


def _fitted(recorded: Recorded, chosen: Chosen, judge: Judge) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    shape, size = recorded.observations.shape[1:], recorded.actions.shape[1]
    critic = Critic(shape, size, judge.hidden, size=judge.members, key=init)
    state = critic, critic, optax.adam(_rate(judge)).init(critic)
    first = seen(recorded.first_observations), jnp.asarray(chosen.first_actions)
    late = judge.steps - judge.steps // 10
    values = []
    for begin, end in ((0, late), (late, judge.steps)):
        state = _train(state, data, key, jnp.int32(begin), jnp.int32(end), judge)
        each = np.asarray(_at_first(state[0], data, *first), np.float64)
        values.append((each * counts).sum(1) / counts.sum(1))
    return values[0], values[1], np.asarray(_everywhere(state[0], data), np.float64)


def _rate(judge: Judge) -> optax.Schedule:
    return optax.cosine_decay_schedule(judge.learning_rate, judge.steps)


_State = tuple[Critic, Critic, optax.OptState]


@partial(jax.jit, static_argnames="judge")
def _train(state: _State, data: _Data, key: PRNGKeyArray, begin: Array, end: Array, judge: Judge) -> _State:
    """Updates `begin` to `end` of critics, target critics and optimiser."""
    optimizer = optax.adam(_rate(judge))

    def loss(critic: Critic, target: Critic, rows: Int[Array, " batch"]) -> Float[Array, ""]:
        following = _values(target, data.next_observations[rows], data.next_actions[rows])
        if judge.pessimism:
            following = following - judge.pessimism * jnp.std(following, axis=1, keepdims=True)
        bounded = jnp.clip(data.offset + data.scale * following, data.low, data.high)
        sums = data.rewards[rows][:, None] + data.discounts[rows][:, None] * bounded
        errors = _values(critic, data.observations[rows], data.actions[rows]) - (sums - data.offset) / data.scale
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
    critic: Critic, data: _Data, observations: Array, actions: Float[Array, "episodes draws action"]
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


def _values(critic: Critic, observations: Array, actions: Array) -> Float[Array, "batch members"]:
    return jax.vmap(lambda observation, action: critic.given(observation)(action))(observations, actions)


def _standardised(recorded: Recorded) -> "_Standard":
    """States in deviations from their recorded mean; images as they are."""
    if recorded.observations.dtype == np.uint8:
        return _Standard(None, None)
    columns = recorded.observations.astype(np.float64)
    deviation = columns.std(axis=0)
    return _Standard(columns.mean(axis=0), np.where(deviation > 1e-6, deviation, 1.0))


class _Standard(NamedTuple):
    mean: Float[np.ndarray, "*observation"] | None
    deviation: Float[np.ndarray, "*observation"] | None

    def __call__(self, observations: Shaped[np.ndarray, " n *observation"]) -> Shaped[Array, " n *observation"]:
        if self.mean is None or self.deviation is None:
            return jnp.asarray(observations)
        return jnp.asarray(((observations - self.mean) / self.deviation).astype(np.float32))


@eqx.filter_jit
def _act_rows(policy: Policy, observations: Array, keys: Key[Array, " rows"]) -> Float[Array, "rows action"]:
    return jax.vmap(policy.act)(observations, keys)


def _act(policy: Policy, observations: np.ndarray, key: PRNGKeyArray) -> Float32[np.ndarray, "n action"]:
    """One action at each observation, in calls of one shape: the last call is filled up with its first row."""
    keys = jax.random.split(key, len(observations))
    rows = min(ROWS, len(observations))
    found = []
    for begin in range(0, len(observations), rows):
        inside = np.minimum(np.arange(begin, begin + rows), len(observations) - 1)
        found.append(np.asarray(_act_rows(policy, jnp.asarray(observations[inside]), keys[inside])))
    return np.concatenate(found)[: len(observations)].astype(np.float32)


def _distance(recorded: Recorded, chosen: Chosen) -> float:
    """How far a policy acts from the recorded actions at next observations; see `Judgement.distance`."""
    alive = recorded.discounts > 0
    spread = float(np.sqrt(np.mean(np.var(recorded.actions, axis=0))))
    apart = (chosen.next_actions - recorded.next_actions)[alive]
    return float(np.sqrt(np.mean(np.square(apart)))) / spread if spread > 0 and apart.size else 0.0
