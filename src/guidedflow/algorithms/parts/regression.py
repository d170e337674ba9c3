"""Values that are trained towards targets which an algorithm names.

    critic    |Q_i(s, a) - y|^2, the mean or the sum over members i
    value     |V(s) - y|^2

This module does not know what the targets are made of.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from guidedflow.algorithms.parts.ensemble import Members
from guidedflow.algorithms.parts.losses import squared_error
from guidedflow.networks import Critic, StateValue
from guidedflow.types import Metrics, Scalar, Transition


def critic_loss(
    critic: Critic,
    data: Transition,
    target: Scalar | Members,
    over_members: Callable[[jax.Array], jax.Array] = jnp.mean,
) -> tuple[Scalar, Metrics]:
    """The critic's error at one transition; `over_members` makes one number of the members' squared errors."""
    values = critic.given(data.observation)(data.action)
    loss = over_members(jnp.square(values - target))
    return loss, {"critic_loss": loss, "q": jnp.mean(values)}


def value_loss(value: StateValue, data: Transition, target: Scalar | Members) -> tuple[Scalar, Metrics]:
    """The error of a state's value at one transition; of several targets, the mean over them."""
    v = value(data.observation)
    loss = squared_error(v, target)
    return loss, {"value_loss": loss, "v": v}
