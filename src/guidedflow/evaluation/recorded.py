"""What off-policy evaluation is given: recorded transitions, a policy's actions at them, and settings.

This module does not know how a return is estimated.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, PRNGKeyArray, Shaped

from guidedflow.keys import Stream, stream_key
from guidedflow.settings import check_ranges

ACTIONS, RESAMPLES, FIT = range(3)
"""Purposes of keys."""


class Recorded(NamedTuple):
    """Transitions that were recorded by another policy, and where their episodes begin.

    Observations of several parts are rows of a structured array (`guidedflow.packing`).
    """

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
