"""The values of Implicit Q-Learning (arXiv 2110.06169): how good actions are, learned from actions of the data alone.

    V    w |min_i Q'_i(s, a) - V(s)|^2,   w = expectile if Q' > V else 1 - expectile
    Q    |Q_i(s, a) - (r + gamma V(s'))|^2, over members i

Both at the parameters of before the step; Q' follows Q of before the step. An algorithm holds `ImplicitValues` and
steps its state by `step(values, batch)`. With targets of their own, each member i has a V_i, trained towards Q'_i.
This module does not know which policy the values are for.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray

from guidedflow.algorithms.learner import Learner, polyak
from guidedflow.algorithms.parts.ensemble import Ensemble, Members
from guidedflow.algorithms.parts.losses import expectile_error
from guidedflow.networks import NORM_FIRST, NORMED, Aggregate, Critic, StateValue, StateValues, Style
from guidedflow.types import Metrics, Scalar, Transition


class Values(NamedTuple):
    """Networks and optimiser states of the values."""

    critic: Learner[Critic]
    target_critic: Critic
    value: Learner[StateValue] | Learner[StateValues]


def advantage(
    critic: Critic, value: StateValue | StateValues, combine: Callable[[Members], Scalar], data: Transition
) -> Scalar:
    """A = Q(s, a) - V(s) of one transition, the members' made one by `combine`."""
    return combine(critic.given(data.observation)(data.action) - value(data.observation))


class Form(NamedTuple):
    """What differs between two published forms of these values."""

    style: Style
    over_members: Callable[[jax.Array], jax.Array]
    """The members' errors -> the critic's loss."""


FQL_FORM = Form(NORMED, jnp.sum)
"""IQL in the comparisons of FQL (arXiv 2502.02538) and GFP (2512.03973)."""
QGF_FORM = Form(NORM_FIRST, jnp.mean)
"""QGF (arXiv 2606.11087) and what it compares with."""


class ImplicitValues(NamedTuple):
    """How values are learned: what an algorithm holds to step `Values` with its own settings."""

    optimizer: optax.GradientTransformation
    hidden: tuple[int, ...]
    ensemble: Ensemble
    expectile: float | Scalar
    tau: float | Scalar
    form: Form = QGF_FORM

    def init(self, example: Transition, key: PRNGKeyArray) -> Values:
        """The values before the first update; the target critic begins as a copy of the critic."""
        shape, size, members = example.observation.shape, example.action.size, self.ensemble.members
        critic_key, value_key = jax.random.split(key)
        critic = Critic(shape, size, self.hidden, size=members, style=self.form.style, key=critic_key)
        value: Any
        if self.ensemble.own_targets:
            value = StateValues(shape, self.hidden, size=members, style=self.form.style, key=value_key)
        else:
            value = StateValue(shape, self.hidden, style=self.form.style, key=value_key)
        return Values(Learner.init(critic, self.optimizer), critic, Learner.init(value, self.optimizer))

    def step(self, values: Values, batch: Transition) -> tuple[Values, Metrics]:
        """One update of critic, value and target."""
        gradients, metrics = self.gradients(values, batch)
        return self.descend(values, gradients), metrics

    def gradients(self, values: Values, batch: Transition) -> tuple[tuple[Any, Any], Metrics]:
        """The gradients of critic and value over a batch, both at the parameters of before the step."""
        target_critic, value = values.target_critic, values.value.network
        combine = self.ensemble.target(Aggregate.min)

        def value_loss(value: StateValue | StateValues, data: Transition) -> tuple[Scalar, Metrics]:
            v = value(data.observation)
            q = combine(target_critic.given(data.observation)(data.action))
            loss = self.form.over_members(expectile_error(q - v, self.expectile))
            return loss, {"value_loss": loss, "v": jnp.mean(v)}

        def critic_loss(critic: Critic, data: Transition) -> tuple[Scalar, Metrics]:
            q = critic.given(data.observation)(data.action)
            target = data.reward + data.discount * value(data.next_observation)
            loss = self.form.over_members(jnp.square(q - target))
            return loss, {"critic_loss": loss, "q": jnp.mean(q)}

        value_gradient, value_metrics = values.value.gradient(value_loss, batch)
        critic_gradient, critic_metrics = values.critic.gradient(critic_loss, batch)
        return (critic_gradient, value_gradient), {**critic_metrics, **value_metrics}

    def descend(self, values: Values, gradients: tuple[Any, Any]) -> Values:
        """One step along both gradients; the target critic follows the critic of before it."""
        critic_gradient, value_gradient = gradients
        return Values(
            values.critic.descend(self.optimizer, critic_gradient),
            polyak(values.target_critic, values.critic.network, self.tau),
            values.value.descend(self.optimizer, value_gradient),
        )
