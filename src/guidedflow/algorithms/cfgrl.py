"""CFGRL: classifier-free guidance as policy improvement (arXiv 2505.23458), as compared in Q-Guided Flow (2606.11087).

    V, Q     `parts.implicit_values`
    flow     1[A > 0] e(1) + 0.1 e(0),   e(o) = |v(s, o, a_t, t) - (a - x0)|^2 / d,   A = min_i Q'_i(s, a) - V(s)
    acting   v(s, 0, ...) + weight (v(s, 1, ...) - v(s, 0, ...))

One field, told by a label whether an action was better than expected; acting goes beyond what the label says. The
weight is not trained: `guidedflow evaluate RUN --guidance conditional --weight ...`. This file does not know of
horizons and discounts.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray

from guidedflow.algorithms.learner import Learner
from guidedflow.algorithms.parts import cloning, figures
from guidedflow.algorithms.parts.cloning import Noise, Times
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.implicit_values import ImplicitValues, Values, advantage
from guidedflow.algorithms.parts.losses import flow_matching_error
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import FLOW_NORM_FIRST, Aggregate, ConditionalField, Extrapolation, SwiftTime
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.settings import hyperparameters
from guidedflow.types import Metrics, Scalar, Transition

UNCONDITIONAL = 0.1
"""Weight of the loss without the condition."""


class State(NamedTuple):
    """Networks and optimiser states of CFGRL."""

    flow: Learner[ConditionalField]
    values: Values


@hyperparameters
class CFGRL:
    """A flow that is told which actions were better than expected, and asked for more of that when it acts."""

    weight: float = 3.0
    """Weight of the condition when acting: 0 clones, 1 takes the condition as it is; published: 1 to 15."""
    times: Times = Times.grid
    """Times of the path that the flow is trained at."""
    expectile: float = 0.9
    """Of the critic's values over the data's actions: 0.5 is their mean, 1 their maximum."""
    tau: float = 0.005
    """Rate at which the target critic follows the critic."""
    learning_rate: float = 3e-4
    """Step size of Adam, for all networks."""
    flow_steps: int = 10
    """Euler steps from noise to action."""
    hidden: tuple[int, ...] = (1024, 1024, 1024, 1024)
    """Sizes of the hidden layers of every network."""
    ensemble: Ensemble = Ensemble()
    """Members of the critic, and how their values become one."""

    shown = ("critic_loss", "flow_loss", "better")

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        shape, size = example.observation.shape, example.action.size
        flow_key, values_key = jax.random.split(key)
        flow = ConditionalField(shape, size, self.hidden, SwiftTime(), style=FLOW_NORM_FIRST, key=flow_key)
        values = self.values.init(example, values_key)
        return State(Learner.init(flow, self.optimizer), values)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        return self.step(state, batch, cloning.draw(batch, key, self.times))

    def policies(self, state: State) -> dict[str, Policy]:
        flow, critic = Extrapolation(state.flow.network, self.weight), state.values.critic.network
        sampler = Sampler(self.flow_steps)
        conditional = FlowPolicy(
            flow=flow, critic=critic, aggregate=self.ensemble.acting(Aggregate.min), sampler=sampler
        )
        return {"conditional": conditional, "flow": conditional.conditioned(0.0)}

    def diagnostics(self, state: State, batch: Transition, key: PRNGKeyArray) -> Metrics:
        """The share of actions whose label is better than expected, and the target critic's distance."""
        target, value, combine = (
            state.values.target_critic, state.values.value.network, self.ensemble.actor(Aggregate.min)
        )  # fmt: skip
        advantages = jax.vmap(partial(advantage, target, value, combine))(batch.acting)
        better = jnp.mean((advantages > 0).astype(jnp.float32))
        return figures.of_target(state.values.critic.network, target, batch, self.tau) | {"labelled_better": better}

    @property
    def values(self) -> ImplicitValues:
        """How the values are learned."""
        return ImplicitValues(self.optimizer, self.hidden, self.ensemble, self.expectile, self.tau)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, one state a network."""
        return optax.adam(self.learning_rate)

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise."""
        target_critic, value = state.values.target_critic, state.values.value.network
        combine = self.ensemble.actor(Aggregate.min)

        def flow_loss(flow: ConditionalField, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            velocity = flow.given(data.observation)

            def error(label: int) -> Scalar:
                return flow_matching_error(velocity(label), noise.flow_source, data.action, noise.flow_time)

            better = (advantage(target_critic, value, combine, data) > 0).astype(jnp.float32)
            loss = better * error(1) + UNCONDITIONAL * error(0)
            return loss, {"flow_loss": loss, "better": better}

        flow, metrics = state.flow.step(self.optimizer, flow_loss, batch.acting, noise)
        values, value_metrics = self.values.step(state.values, batch)
        return State(flow, values), {**value_metrics, **metrics}
