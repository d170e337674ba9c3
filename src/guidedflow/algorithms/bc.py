"""BC flow: behaviour cloning with a flow-matching policy.

    L(w) = | v_w(s, (1 - t) x0 + t a, t) - (a - x0) |^2 / d,   x0 ~ N(0, I),   t ~ U[0, 1)

The flow part of Flow Q-Learning (arXiv 2502.02538), alone. It does not know of rewards.
"""

from typing import NamedTuple

import optax
from jaxtyping import PRNGKeyArray

from guidedflow.algorithms.learner import Learner
from guidedflow.algorithms.parts import cloning
from guidedflow.algorithms.parts.cloning import Noise, flow_loss
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Aggregate, RawTime, VelocityField
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.settings import hyperparameters
from guidedflow.types import Metrics, Transition


class State(NamedTuple):
    """Networks and optimiser states of BC."""

    flow: Learner[VelocityField]


@hyperparameters
class BC:
    """Behaviour cloning with a flow policy: it learns what the data did, and nothing about what was good."""

    learning_rate: float = 3e-4
    """Step size of Adam."""
    flow_steps: int = 10
    """Euler steps from noise to action."""
    hidden: tuple[int, ...] = (512, 512, 512, 512)
    """Sizes of the hidden layers."""

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        flow = VelocityField(example.observation.shape, example.action.size, self.hidden, RawTime(), key=key)
        return State(Learner.init(flow, self.optimizer))

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        return self.step(state, batch, cloning.draw(batch, key))

    def policies(self, state: State) -> dict[str, Policy]:
        sampler = Sampler(self.flow_steps)
        return {"flow": FlowPolicy(flow=state.flow.network, critic=None, aggregate=Aggregate.min, sampler=sampler)}

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise."""
        flow, metrics = state.flow.step(self.optimizer, flow_loss, batch.acting, noise)
        return State(flow), metrics
