"""The values of Implicit Q-Learning (arXiv 2110.06169): how good actions are, learned from actions of the data alone.

    V    w |min_i Q'_i(s, a) - V(s)|^2,   w = expectile if Q' > V else 1 - expectile
    Q    |Q_i(s, a) - (r + gamma V(s'))|^2, over members i

Both at the parameters of before the step; Q' follows Q of before the step. All but BC, FQL, GFP and ReBRAC rest on
them. This module does not know which policy the values are for.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithms.learner import Learner, polyak
from guidedflow.algorithms.parts.losses import expectile_error
from guidedflow.networks import NORMED, Critic, StateValue, Style
from guidedflow.types import Metrics, Scalar, Transition


class Values(NamedTuple):
    """What is learned."""

    critic: Learner[Critic]
    target_critic: Critic
    value: Learner[StateValue]


def init(
    example: Transition,
    hidden: tuple[int, ...],
    optimizer: optax.GradientTransformation,
    key: PRNGKeyArray,
    style: Style = NORMED,
) -> Values:
    """The values before the first update; the target critic begins as a copy of the critic."""
    shape, size = example.observation.shape, example.action.size
    critic_key, value_key = jax.random.split(key)
    critic = Critic(shape, size, hidden, style=style, key=critic_key)
    value = StateValue(shape, hidden, style=style, key=value_key)
    return Values(Learner.init(critic, optimizer), critic, Learner.init(value, optimizer))


def step(
    values: Values,
    batch: Transition,
    optimizer: optax.GradientTransformation,
    *,
    expectile: float | Scalar,
    tau: float | Scalar,
    over_members: Callable[[Float[Array, " members"]], Scalar],
) -> tuple[Values, Metrics]:
    """One update; `over_members` is the sum (as FQL and GFP publish IQL) or the mean (QGF) of the members' errors."""
    critic, target_critic, value = values.critic.network, values.target_critic, values.value.network

    def value_loss(value: StateValue, data: Transition) -> tuple[Scalar, Metrics]:
        v = value(data.observation)
        loss = expectile_error(jnp.min(target_critic.given(data.observation)(data.action)) - v, expectile)
        return loss, {"value_loss": loss, "v": v}

    def critic_loss(critic: Critic, data: Transition) -> tuple[Scalar, Metrics]:
        q = critic.given(data.observation)(data.action)
        target = data.reward + data.discount * value(data.next_observation)
        loss = over_members(jnp.square(q - target))
        return loss, {"critic_loss": loss, "q": jnp.mean(q)}

    value_learner, value_metrics = values.value.step(optimizer, value_loss, batch)
    critic_learner, critic_metrics = values.critic.step(optimizer, critic_loss, batch)
    after = Values(critic_learner, polyak(target_critic, critic, tau), value_learner)
    return after, {**critic_metrics, **value_metrics}
