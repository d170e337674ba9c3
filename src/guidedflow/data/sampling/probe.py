"""A fixed batch by which a run is diagnosed, with what the dataset knows of it: returns-to-go and the range of values.

The batch has a stream of keys of its own, so training draws what it drew before. This module does not know which
figures are computed from it.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from guidedflow.data.transitions import Transitions
from guidedflow.keys import Stream, stream_key
from guidedflow.types import Metrics, Transition

SIZE = 256
"""Transitions of the batch: a mean over them has an error of a sixteenth of the deviation."""

SURVEYED = 2048
"""Transitions from which figures of the dataset are computed, once."""

NEGLIGIBLE = 0.1
"""A return-to-go is known where what follows the recorded rewards is discounted by at most this factor."""

EDGE = 0.99
"""An action at the edge of its box is at least so large, in one dimension."""


class Probe(NamedTuple):
    """A batch, and what the dataset knows of it."""

    batch: Transition
    returns: Float[Array, " batch"]
    """Discounted rewards from each transition to the end of its episode; NaN where the episode was cut off before."""
    limits: Float[Array, "2"]
    """The smallest and largest value that rewards allow; infinite without discounting."""
    dataset: Metrics
    """Figures of the dataset, which stay as they are."""

    @classmethod
    def of(cls, transitions: Transitions) -> "Probe":
        """The batch of a dataset, alike for every seed; observations are not cropped."""
        key = stream_key(0, Stream.DIAGNOSTICS)
        surveyed = transitions.draw(key, SURVEYED)
        if transitions.goals is None:
            batch = transitions.take(surveyed[:SIZE])
            returns, rewards = returns_to_go(transitions, np.asarray(surveyed)), np.asarray(transitions.rewards)
        else:  # rewards are those of goals that were drawn, and no episode has a return of them
            batch = transitions.sample(key, SIZE)
            returns, rewards = np.full(SURVEYED, np.nan, np.float32), np.asarray(batch.reward)
        limits = value_limits(rewards, float(jnp.max(transitions.discounts)))
        totals = None if transitions.goals is not None else rewards_of_episodes(transitions, np.asarray(surveyed))
        figures = _figures(transitions.take(surveyed), returns, totals)
        return cls(batch, jnp.asarray(returns[:SIZE]), jnp.asarray(limits), figures)


def value_limits(rewards: Float[np.ndarray, " transitions"], discount: float) -> Float[np.ndarray, "2"]:
    """The smallest and largest value of any policy: an extreme reward once, or for ever."""
    low, high = float(rewards.min()), float(rewards.max())
    left = max(1 - discount, 0.0)
    forever = [0.0 if not reward else reward / left if left else reward * np.inf for reward in (low, high)]
    with np.errstate(over="ignore"):
        return np.asarray([min(low, forever[0]), max(high, forever[1])], np.float32)


def returns_to_go(transitions: Transitions, indices: Int[np.ndarray, " batch"]) -> Float[np.ndarray, " batch"]:
    """The discounted rewards from these transitions on; NaN where the episode was cut off before they are known."""
    rewards, discounts, starts, nexts = (
        np.asarray(column)
        for column in (transitions.rewards, transitions.discounts, transitions.starts, transitions.nexts)
    )
    found, weight = np.zeros(len(indices)), np.ones(len(indices))
    at, alive = indices.astype(np.int64), np.arange(len(indices))
    while alive.size:
        here = at[alive]
        found[alive] += weight[alive] * rewards[here]
        weight[alive] *= discounts[here]
        after = np.minimum(np.searchsorted(starts, nexts[here]), len(starts) - 1)
        at[alive] = after
        alive = alive[(starts[after] == nexts[here]) & (weight[alive] > 1e-3)]
    with np.errstate(over="ignore"):  # a reward that training will refuse
        return np.where(np.abs(weight) <= NEGLIGIBLE, found, np.nan).astype(np.float32)


def rewards_of_episodes(transitions: Transitions, indices: Int[np.ndarray, " batch"]) -> Float[np.ndarray, " batch"]:
    """The sum of the rewards of the episode that each of these transitions is of, also where it was cut off."""
    _, episodes = np.unique(np.asarray(transitions.ends), return_inverse=True)
    with np.errstate(over="ignore"):
        return np.bincount(episodes, weights=np.asarray(transitions.rewards, np.float64))[episodes[indices]]


def _figures(
    batch: Transition, returns: Float[np.ndarray, " batch"], totals: Float[np.ndarray, " batch"] | None
) -> Metrics:
    """What can be said of the dataset alone."""
    actions = np.asarray(batch.action)
    found = {
        "action_reach": np.quantile(np.abs(actions), 0.99),
        "edge_data": np.mean(np.abs(actions) >= EDGE),
    }
    known = returns[np.isfinite(returns)]
    if known.size >= SIZE:
        found["return_magnitude"] = np.mean(np.abs(known))
    if totals is not None and totals.max() > totals.min():
        found["good_share"] = np.mean(totals > (totals.max() + np.median(totals)) / 2)
    if not isinstance(batch.observation, jnp.ndarray):
        return {name: jnp.asarray(value, jnp.float32) for name, value in found.items()}
    observations, after = np.asarray(batch.observation), np.asarray(batch.next_observation)
    if observations.dtype.kind == "f" and observations.ndim == 2 and 2 * observations.shape[1] < SURVEYED // 8:
        found["action_explained"] = explained(np.concatenate([observations, after], axis=1), actions)
    return {name: jnp.asarray(value, jnp.float32) for name, value in found.items()}


def explained(inputs: Float[np.ndarray, "rows inputs"], outputs: Float[np.ndarray, "rows outputs"]) -> float:
    """The share of the outputs' variance that a linear map of the inputs explains on held-out rows, of the best output.

    Below zero where it explains nothing.
    """
    half = len(inputs) // 2
    inputs = (inputs - inputs[:half].mean(0)) / np.maximum(inputs[:half].std(0), 1e-6)
    inputs = np.concatenate([np.clip(inputs, -10, 10), np.ones((len(inputs), 1), inputs.dtype)], axis=1)
    gram = inputs[:half].T @ inputs[:half] + half * 1e-4 * np.eye(inputs.shape[1])
    guess = inputs[half:] @ np.linalg.solve(gram, inputs[:half].T @ outputs[:half])
    left, variance = np.mean((outputs[half:] - guess) ** 2, axis=0), outputs[half:].var(axis=0)
    return float(np.max(1 - left / np.maximum(variance, 1e-12)))
