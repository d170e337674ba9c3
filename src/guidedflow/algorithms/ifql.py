"""IFQL: implicit flow Q-learning, the flow form of IDQL (arXiv 2304.10573) that FQL (arXiv 2502.02538) compares with.

    V, Q     `parts.implicit_values`
    flow     `parts.cloning`
    acting   the best, by min_i Q_i(s, a), of `candidates` samples of the flow

Training is behaviour cloning beside a critic; only the choice among samples improves on the data. This file does not
know of horizons and discounts.
"""

from typing import NamedTuple

import jax
import optax
from jaxtyping import PRNGKeyArray

from guidedflow.algorithms.learner import Learner
from guidedflow.algorithms.parts import cloning
from guidedflow.algorithms.parts.cloning import Noise, flow_loss
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.implicit_values import FQL_FORM, ImplicitValues, Values
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Aggregate, RawTime, VelocityField
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.settings import hyperparameters
from guidedflow.types import Metrics, Transition


class State(NamedTuple):
    """Networks and optimiser states of IFQL."""

    flow: Learner[VelocityField]
    values: Values


@hyperparameters
class IFQL:
    """A flow cloned from the data, and an IQL critic that chooses among its samples."""

    expectile: float = 0.9
    """Of the critic's values over the data's actions: 0.5 is their mean, 1 their maximum."""
    candidates: int = 32
    """Samples of the flow among which the critic chooses when acting."""
    tau: float = 0.005
    """Rate at which the target critic follows the critic."""
    learning_rate: float = 3e-4
    """Step size of Adam, for all networks."""
    flow_steps: int = 10
    """Euler steps from noise to action."""
    hidden: tuple[int, ...] = (512, 512, 512, 512)
    """Sizes of the hidden layers of every network."""
    ensemble: Ensemble = Ensemble()
    """Members of the critic, and how their values become one."""

    shown = ("critic_loss", "flow_loss")

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        flow_key, values_key = jax.random.split(key)
        flow = VelocityField(example.observation.shape, example.action.size, self.hidden, RawTime(), key=flow_key)
        values = self.values.init(example, values_key)
        return State(Learner.init(flow, self.optimizer), values)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        return self.step(state, batch, cloning.draw(batch, key))

    def policies(self, state: State) -> dict[str, Policy]:
        sampler = Sampler(self.flow_steps, candidates=self.candidates)
        flow, critic, combine = state.flow.network, state.values.critic.network, self.ensemble.acting(Aggregate.min)
        return {"flow": FlowPolicy(flow=flow, critic=critic, aggregate=combine, sampler=sampler)}

    @property
    def values(self) -> ImplicitValues:
        """How the values are learned."""
        return ImplicitValues(self.optimizer, self.hidden, self.ensemble, self.expectile, self.tau, FQL_FORM)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, one state a network."""
        return optax.adam(self.learning_rate)

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise."""
        flow, flow_metrics = state.flow.step(self.optimizer, flow_loss, batch.acting, noise)
        values, value_metrics = self.values.step(state.values, batch)
        return State(flow, values), {**value_metrics, **flow_metrics}
