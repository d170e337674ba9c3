"""EDP: Efficient Diffusion Policy (arXiv 2305.20081), in the flow form of Q-Guided Flow's comparison (2606.11087).

    V, Q     `parts.implicit_values`
    flow     -min_i Q'_i(s, a1) + alpha |v(s, a_t, t) - (a - x0)|^2 / d,   a1 = clip(a_t + (1 - t) v(s, a_t, t))

The value is asked at the action that one jump from a_t predicts, so no flow is integrated while training.
This file does not know of horizons and discounts.
"""

from typing import NamedTuple

import jax
import optax
from jaxtyping import PRNGKeyArray

from guidedflow.algorithms.learner import Learner
from guidedflow.algorithms.parts import cloning
from guidedflow.algorithms.parts.cloning import Noise, Times
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.implicit_values import ImplicitValues, Values
from guidedflow.algorithms.parts.losses import squared_error
from guidedflow.flows.path import landing, straight_path
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import FLOW_NORM_FIRST, Aggregate, SwiftTime, VelocityField
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.settings import hyperparameters
from guidedflow.types import Metrics, Scalar, Transition


class State(NamedTuple):
    """Networks and optimiser states of EDP."""

    flow: Learner[VelocityField]
    values: Values


@hyperparameters
class EDP:
    """A flow that climbs the critic through its own prediction of the clean action, held to the data by cloning."""

    alpha: float = 100.0
    """Weight of cloning; published: 30 to 300."""
    times: Times = Times.grid
    """Times of the path that the flow is trained at; at t = 1 the value has no gradient."""
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

    shown = ("critic_loss", "flow_loss", "q_loss")

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        shape, size = example.observation.shape, example.action.size
        flow_key, values_key = jax.random.split(key)
        flow = VelocityField(shape, size, self.hidden, SwiftTime(), style=FLOW_NORM_FIRST, key=flow_key)
        values = self.values.init(example, values_key)
        return State(Learner.init(flow, self.optimizer), values)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        return self.step(state, batch, cloning.draw(batch, key, self.times))

    def policies(self, state: State) -> dict[str, Policy]:
        flow, critic = state.flow.network, state.values.target_critic
        sampler = Sampler(self.flow_steps)
        return {
            "flow": FlowPolicy(flow=flow, critic=critic, aggregate=self.ensemble.acting(Aggregate.min), sampler=sampler)
        }

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
        target_critic, combine = state.values.target_critic, self.ensemble.actor(Aggregate.min)

        def flow_loss(flow: VelocityField, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            point, speed = straight_path(noise.flow_source, data.action, noise.flow_time)
            velocity = flow.given(data.observation)(point, noise.flow_time)
            q = combine(target_critic.given(data.observation)(landing(point, velocity, noise.flow_time)))
            error = squared_error(velocity, speed)
            return self.alpha * error - q, {"flow_loss": error, "q_loss": -q}

        flow, metrics = state.flow.step(self.optimizer, flow_loss, batch.acting, noise)
        values, value_metrics = self.values.step(state.values, batch)
        return State(flow, values), {**value_metrics, **metrics}
