"""BC flow: behaviour cloning with a flow-matching policy.

    L(w) = | v_w(s, (1 - t) x0 + t a, t) - (a - x0) |^2 / d,   x0 ~ N(0, I),   t ~ U[0, 1)

The flow part of Flow Q-Learning (arXiv 2502.02538), alone. It does not know of rewards.
"""

import math
from typing import NamedTuple

import jax
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from guidedflow.algorithm import Learner
from guidedflow.losses import flow_matching_error
from guidedflow.networks import Aggregate, RawTime, VelocityField
from guidedflow.policy import FlowPolicy, Policy
from guidedflow.sampling import Sampler
from guidedflow.settings import check_ranges, hyperparameters
from guidedflow.types import Metrics, Scalar, Transition


class Noise(NamedTuple):
    """Every random number of one update; rows are transitions."""

    flow_source: Float[Array, "*batch action"]
    """x0, where the flow starts."""
    flow_time: Float[Array, "*batch"]
    """t in [0, 1)."""


class State(NamedTuple):
    """What is learned."""

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

    def __post_init__(self) -> None:
        sizes = {"hidden": (1, math.inf), "flow_steps": (1, math.inf), "learning_rate": (0, math.inf)}
        check_ranges(self, **sizes)

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        flow = VelocityField(example.observation.shape, example.action.size, self.hidden, RawTime(), key=key)
        return State(Learner.init(flow, self.optimizer))

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        return self.step(state, batch, self.draw(batch, key))

    def policies(self, state: State) -> dict[str, Policy]:
        sampler = Sampler(self.flow_steps)
        return {"flow": FlowPolicy(flow=state.flow.network, critic=None, aggregate=Aggregate.min, sampler=sampler)}

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    def draw(self, batch: Transition, key: PRNGKeyArray) -> Noise:
        source, time = jax.random.split(key)
        return Noise(jax.random.normal(source, batch.action.shape), jax.random.uniform(time, batch.reward.shape))

    def step(self, state: State, batch: Transition, noise: Noise) -> tuple[State, Metrics]:
        def flow_loss(flow: VelocityField, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            velocity = flow.given(data.observation)
            error = flow_matching_error(velocity, noise.flow_source, data.action, noise.flow_time)
            return error, {"flow_loss": error}

        flow, metrics = state.flow.step(self.optimizer, flow_loss, batch, noise)
        return State(flow), metrics
