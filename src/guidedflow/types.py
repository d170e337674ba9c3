"""The words that every module shares.

A velocity and a value are plain functions of one action and one time, with the observation already bound;
t = 0 is noise and t = 1 is an action. Nothing here knows of networks, datasets or batches.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Shaped

from guidedflow.parts import Parts

Action = Float[Array, " action"]
Noise = Float[Array, " action"]
Observation = Shaped[Array | np.ndarray, "*observation"] | Parts
Scalar = Float[Array, ""]
Time = float | Float[Array, ""]

Velocity = Callable[[Action, Time], Action]
"""v(a, t): how the point a moves at time t."""

Value = Callable[[Action, Time], Scalar]
"""q(a, t): how good the action a is; a critic of clean actions ignores t."""

Metrics = dict[str, Array]


class Transition(NamedTuple):
    """What one update consumes; in a batch every field gains a leading axis.

    `discount` multiplies the value of the next observation: gamma, and 0 where the episode terminated.
    `actor_observation` stands where a policy learns from another observation than its critic: one with another goal.
    """

    observation: Shaped[Array, "*batch_observation"] | Parts
    action: Float[Array, "*batch action"]
    reward: Float[Array, "*batch"]
    discount: Float[Array, "*batch"]
    next_observation: Shaped[Array, "*batch_observation"] | Parts
    next_action: Float[Array, "*batch action"]
    actor_observation: Shaped[Array, "*batch_observation"] | Parts | None = None

    @property
    def acting(self) -> "Transition":
        """The transition as a policy's loss sees it; a critic's loss sees the transition itself."""
        return self if self.actor_observation is None else self._replace(observation=self.actor_observation)
