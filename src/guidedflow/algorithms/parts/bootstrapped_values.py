"""A critic that bootstraps from what the policy would do next, for methods whose policy may take part in its target.

    Q    |Q_i(s, a) - (r + gamma agg Q'(s', a'))|^2, mean over members i,   a' the policy's action at s'

At the parameters of before the step; Q' follows Q of before the step. This module does not know which policy acts.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithms.learner import Learner, polyak
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.losses import squared_error
from guidedflow.flows.path import clip, integrate
from guidedflow.networks import NORM_FIRST, Aggregate, Critic, VelocityField
from guidedflow.types import Action, Metrics, Scalar, Transition


class Bootstrapped(NamedTuple):
    """Networks and optimiser states of the values."""

    critic: Learner[Critic]
    target_critic: Critic


def next_actions_of(
    flow: VelocityField, batch: Transition, noise: Float[Array, "batch action"], steps: int
) -> Float[Array, "batch action"]:
    """The actions of a flow at the next states of a batch, from the given noise."""

    def act(data: Transition, noise: Action) -> Action:
        return clip(integrate(flow.given(data.next_observation), noise, steps))

    return jax.vmap(act)(batch, noise)


class BootstrappedValues(NamedTuple):
    """How values are learned: what an algorithm holds to step `Bootstrapped` with its own settings."""

    optimizer: optax.GradientTransformation
    hidden: tuple[int, ...]
    ensemble: Ensemble
    tau: float | Scalar

    def init(self, example: Transition, key: PRNGKeyArray) -> Bootstrapped:
        """The values before the first update; the target critic begins as a copy of the critic."""
        shape, size, members = example.observation.shape, example.action.size, self.ensemble.members
        critic = Critic(shape, size, self.hidden, size=members, style=NORM_FIRST, key=key)
        return Bootstrapped(Learner.init(critic, self.optimizer), critic)

    def gradients(
        self, values: Bootstrapped, batch: Transition, next_actions: Float[Array, "batch action"]
    ) -> tuple[tuple[Any], Metrics]:
        """The critic's gradient over a batch, at whose next states the policy takes `next_actions`."""
        target_critic, combine = values.target_critic, self.ensemble.target(Aggregate.mean)

        def critic_loss(critic: Critic, data: Transition, next_action: Action) -> tuple[Scalar, Metrics]:
            next_value = combine(target_critic.given(data.next_observation)(next_action))
            q = critic.given(data.observation)(data.action)
            loss = squared_error(q, data.reward + data.discount * next_value)
            return loss, {"critic_loss": loss, "q": jnp.mean(q)}

        gradient, metrics = values.critic.gradient(critic_loss, batch, next_actions)
        return (gradient,), metrics

    def descend(self, values: Bootstrapped, gradients: tuple[Any]) -> Bootstrapped:
        """One step along the gradient; the target critic follows the critic of before it."""
        target = polyak(values.target_critic, values.critic.network, self.tau)
        return Bootstrapped(values.critic.descend(self.optimizer, gradients[0]), target)
