"""BC: behaviour cloning with a flow, or with a tanh-Gaussian or a mixture of several.

    flow        | v(s, (1 - t) x0 + t a, t) - (a - x0) |^2 / d,   x0 ~ N(0, I),   t ~ U[0, 1)
    Gaussian    -log pi(a | s), or | a~ - a |^2 of an action a~ ~ pi

The flow is that of Flow Q-Learning (arXiv 2502.02538), alone; the Gaussians are the behaviour policies of CFPI (arXiv
2211.15956; cfpi-icml23/cfpi, dc0bee6). This file does not know of rewards.
"""

import math
from typing import Any, NamedTuple

import optax
from jaxtyping import PRNGKeyArray

from guidedflow.algorithms.learner import Learner
from guidedflow.algorithms.parts import cloning
from guidedflow.algorithms.parts.cloning import Noise, drawn_error, flow_loss, head_size, likelihood_loss
from guidedflow.errors import InputError
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import Aggregate, RawTime, VelocityField
from guidedflow.networks.gaussians import GaussianActor
from guidedflow.policies.density import DensityPolicy
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.settings import check_settings, hyperparameters
from guidedflow.types import Metrics, Scalar, Transition


class State(NamedTuple):
    """Networks and optimiser states of BC with a flow."""

    flow: Learner[VelocityField]


class Likelihood(NamedTuple):
    """Networks and optimiser states of BC with a Gaussian or a mixture."""

    actor: Learner[GaussianActor]


@hyperparameters
class BC:
    """Behaviour cloning: a flow or a Gaussian policy learns what the data did, and nothing about what was good."""

    components: int = 0
    """Gaussians of the policy: 0 is a flow, 1 a tanh-Gaussian, more a mixture; published for CFPI: 1, 4, 8 or 12."""
    unit_deviation: bool = False
    """Gaussians of deviation 1 before tanh, of which the mean alone is learned; published for COIL."""
    squared_error: bool = False
    """Learn one Gaussian from the squared error of a drawn action, not from likelihood; an option of COIL's code."""
    penalty: float = 0.0
    """Weight of the mean squares of means and log deviations (L2); 0.001 in COIL's code, off in its experiments."""
    learning_rate: float = 3e-4
    """Step size of Adam."""
    low_momentum: bool = False
    """First decay (beta 1) of Adam 0.25 instead of 0.9; published for COIL."""
    flow_steps: int = 10
    """Euler steps from noise to action."""
    hidden: tuple[int, ...] = (512, 512, 512, 512)
    """Sizes of the hidden layers."""

    def __post_init__(self) -> None:
        check_settings(self, components=(0, 100), penalty=(0, math.inf))
        penalty: Any = self.penalty  # which may be traced, and then is not checked
        if self.squared_error and self.components != 1:
            raise InputError(f"A squared error is of one Gaussian: take components 1, not {self.components}.")
        if not self.components and isinstance(penalty, int | float) and penalty > 0:
            raise InputError("A penalty is of Gaussians, and a flow has none; take components 1 or more.")

    def init(self, example: Transition, key: PRNGKeyArray) -> State | Likelihood:
        shape, size = example.observation.shape, example.action.size
        if self.components:
            actor = GaussianActor(
                shape, size, self.hidden, components=self.components, unit=self.unit_deviation, key=key
            )
            return Likelihood(Learner.init(actor, self.optimizer))
        return State(Learner.init(VelocityField(shape, size, self.hidden, RawTime(), key=key), self.optimizer))

    def update(
        self, state: State | Likelihood, batch: Transition, key: PRNGKeyArray
    ) -> tuple[State | Likelihood, Metrics]:
        return self.step(state, batch, cloning.draw(batch, key))

    def policies(self, state: State | Likelihood) -> dict[str, Policy]:
        judge: dict[str, Any] = {"critic": None, "aggregate": Aggregate.min}
        if isinstance(state, Likelihood):
            network, sampler = state.actor.network, Sampler()
            sampled = DensityPolicy(network=network, sampler=sampler, sampled=True, **judge)
            return {"actor": DensityPolicy(network=network, sampler=sampler, **judge), "sampled": sampled}
        return {"flow": FlowPolicy(flow=state.flow.network, sampler=Sampler(self.flow_steps), **judge)}

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam at the learning rate."""
        return optax.adam(self.learning_rate, b1=0.25 if self.low_momentum else 0.9)

    def step(self, state: State | Likelihood, batch: Transition, noise: Noise) -> tuple[State | Likelihood, Metrics]:
        """One update with the given noise, which a flow and a squared error need."""

        def gaussian_loss(actor: GaussianActor, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            learned = (
                drawn_error(actor, data, noise.flow_source) if self.squared_error else likelihood_loss(actor, data)
            )
            loss, metrics = learned
            return loss + self.penalty * head_size(actor, data.observation), metrics

        if isinstance(state, Likelihood):
            actor, metrics = state.actor.step(self.optimizer, gaussian_loss, batch.acting, noise)
            return Likelihood(actor), metrics
        flow, metrics = state.flow.step(self.optimizer, flow_loss, batch.acting, noise)
        return State(flow), metrics
