"""Importance-weighted returns of policies that have a density, from whole recorded episodes.

Per-decision and self-normalised: the reward of step t counts with the product of the ratios pi / mu up to t, divided
by the mean of these products over episodes (Precup, Sutton and Singh, ICML 2000). The density mu of the recording
policy is fitted to the episodes themselves. Ratios multiply, so fewer and fewer episodes carry the weight.
This module does not know where episodes come from.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Float32, Int, PRNGKeyArray, Shaped

from guidedflow.errors import InputError
from guidedflow.keys import Stream, stream_key
from guidedflow.networks.gaussians import GaussianActor
from guidedflow.packing import shape_of
from guidedflow.parts import Parts, on_device
from guidedflow.policies.density import DensityPolicy, density
from guidedflow.policies.policy import Policy
from guidedflow.results import confidence
from guidedflow.results.confidence import LEVEL, Interval

BOOTSTRAPS = 1_000
"""Resamples of episodes for an interval."""

BEHAVIOUR = 3
"""Purpose of keys, in the stream of judging."""


class Steps(NamedTuple):
    """All steps of whole episodes, each episode in the order of time."""

    observations: Shaped[np.ndarray, " steps *observation"]
    actions: Float32[np.ndarray, "steps action"]
    rewards: Float32[np.ndarray, " steps"]
    episodes: Int[np.ndarray, " steps"]
    """Index of each step's episode, from 0 on without gaps."""
    gamma: float


@dataclass(frozen=True)
class WeightedReturn:
    """Discounted return by importance weighting."""

    value: float
    interval: Interval
    """Student's t with the deviation over resamples of episodes; too narrow where few episodes carry the weight."""
    effective: float
    """Effective number of episodes at the last step of the longest: (sum of weights)^2 / sum of squares."""


def has_density(policy: Policy) -> bool:
    """Whether a policy acts at random by a density: Gaussian, sampled, and neither refined nor chosen by a critic."""
    return isinstance(policy, DensityPolicy) and policy.sampled and not policy.sampler.asks


def check_density(policy: Policy, name: str) -> None:
    """Raise `InputError` for a policy without a density."""
    if not has_density(policy):
        raise InputError(
            f"Policy {name!r} has no density to weigh recorded actions by; importance weighting is for Gaussian "
            "policies that act at random, such as --policy sampled of a Gaussian bc."
        )


def log_densities(policy: Policy, steps: Steps) -> Float[np.ndarray, " steps"]:
    """log pi(a | s) of the recorded actions. Raises `InputError` for a policy without a density."""
    check_density(policy, type(policy).__name__)
    assert isinstance(policy, DensityPolicy)
    return _log_densities(policy.network, steps)


def behaviour(
    steps: Steps, seed: int = 0, hidden: tuple[int, ...] = (64, 64), updates: int = 2_000
) -> Float[np.ndarray, " steps"]:
    """log mu(a | s) of the recorded actions, by a Gaussian seen through tanh that is fitted to them."""
    init, draws = jax.random.split(stream_key(seed, Stream.JUDGING, BEHAVIOUR))
    seen = shape_of(steps.observations.shape[1:], steps.observations.dtype)
    actor = GaussianActor(seen, steps.actions.shape[1], hidden, smallest=-3.0, key=init)
    data = on_device(steps.observations), jnp.asarray(steps.actions)
    return _log_densities(_imitated(actor, *data, draws, updates), steps)


def weighted_return(
    log_ratios: Float[np.ndarray, " steps"], steps: Steps, *, level: float = LEVEL, seed: int = 0
) -> WeightedReturn:
    """The per-decision, self-normalised estimate of the discounted return, given log pi - log mu of every step.

    An episode that ended keeps its weight and earns 0. Raises `InputError` for fewer than two episodes.
    """
    table, logs, inside = _by_episode(steps, np.asarray(log_ratios, np.float64))
    if len(table) < 2:
        raise InputError(f"Importance weighting needs at least 2 episodes, but found {len(table)}.")
    sums = np.cumsum(np.where(inside, logs, 0.0), axis=1)
    weights = np.exp(sums - sums.max(axis=0))  # self-normalised, so a factor of each step does not matter
    discounted = table * steps.gamma ** np.arange(table.shape[1])
    estimate = float(np.sum(weights * discounted / weights.sum(axis=0)))
    random, found = np.random.default_rng(seed), []
    for _ in range(BOOTSTRAPS):
        counts = np.bincount(random.integers(0, len(table), len(table)), minlength=len(table))[:, None]
        totals = np.maximum((counts * weights).sum(axis=0), np.finfo(np.float64).tiny)
        found.append(float(np.sum((counts * weights * discounted).sum(axis=0) / totals)))
    half = confidence.quantile(level, len(table) - 1) * float(np.std(found))
    last = weights[:, -1]
    effective = float(last.sum() ** 2 / np.square(last).sum())
    return WeightedReturn(estimate, confidence.around(estimate, half, level, "t, bootstrapped episodes"), effective)


_Table = Float[np.ndarray, "episodes time"]


def _by_episode(steps: Steps, logs: Float[np.ndarray, " steps"]) -> tuple[_Table, _Table, Bool[np.ndarray, "e t"]]:
    """Rewards and log-ratios by episode and time, and where an episode has a step."""
    lengths = np.bincount(steps.episodes)
    begins = np.cumsum(lengths) - lengths
    order = np.argsort(steps.episodes, kind="stable")
    times = np.arange(len(order)) - np.repeat(begins, lengths)
    rows = steps.episodes[order]
    rewards, ratios = np.zeros((2, len(lengths), int(lengths.max())))
    inside = np.zeros(rewards.shape, bool)
    rewards[rows, times], ratios[rows, times], inside[rows, times] = steps.rewards[order], logs[order], True
    return rewards, ratios, inside


@eqx.filter_jit
def _log_density_rows(network: GaussianActor, observations: Array | Parts, actions: Array) -> Float[Array, " rows"]:
    return jax.lax.map(lambda at: density(network, at[0]).log_density(at[1]), (observations, actions), batch_size=1024)


def _log_densities(network: GaussianActor, steps: Steps) -> Float[np.ndarray, " steps"]:
    found = _log_density_rows(network, on_device(steps.observations), jnp.asarray(steps.actions))
    return np.asarray(found, np.float64)


@partial(jax.jit, static_argnames="updates")
def _imitated(
    actor: GaussianActor, observations: Array | Parts, actions: Array, key: PRNGKeyArray, updates: int
) -> GaussianActor:
    """The actor of largest likelihood, by Adam on batches of 256."""
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-3, updates))

    def loss(actor: GaussianActor, rows: Int[Array, " batch"]) -> Float[Array, ""]:
        at = jax.vmap(lambda o, a: density(actor, o).log_density(a))
        return -jnp.mean(at(jax.tree.map(lambda part: part[rows], observations), actions[rows]))

    def update(step: Array, state: tuple[GaussianActor, optax.OptState]) -> tuple[GaussianActor, optax.OptState]:
        actor, moments = state
        rows = jax.random.randint(jax.random.fold_in(key, step), (256,), 0, len(actions))
        with jax.numpy_dtype_promotion("standard"):  # Adam raises its decay to the power of an integer count
            changes, moments = optimizer.update(jax.grad(loss)(actor, rows), moments)
            return optax.apply_updates(actor, changes), moments

    found: GaussianActor = jax.lax.fori_loop(0, updates, update, (actor, optimizer.init(actor)))[0]
    return found
