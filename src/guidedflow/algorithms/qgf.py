"""QGF: Q-Guided Flow (arXiv 2606.11087). A flow clones the data, and a critic beside it steers it at test time only.

    flow      `parts.cloning`
    V, Q      `parts.implicit_values`
    robust    | R(s, a_t, t) - min_i Q'_i(s, a) |^2,   a_t on the flow's path: a critic of noisy actions (RobustQ)
    acting    the flow's velocity + weight * grad Q'(s, a1) at the predicted clean action a1

Networks, time embedding and order of updates follow the authors' code (zhouzypaul/qgf, bc44a67); `times` chooses
between the paper's distribution of t and the code's. The weight is not trained, so it is chosen when acting:
`guidedflow evaluate RUN --guidance denoised --weight ...`. This file does not know of horizons, chunks and discounts:
they are in the data.
"""

from typing import NamedTuple

import jax
import optax
from jaxtyping import PRNGKeyArray

from guidedflow.algorithms.learner import Learner
from guidedflow.algorithms.parts import cloning
from guidedflow.algorithms.parts.cloning import Noise, Times, flow_loss
from guidedflow.algorithms.parts.ensemble import Ensemble
from guidedflow.algorithms.parts.implicit_values import ImplicitValues, Values
from guidedflow.algorithms.parts.losses import squared_error
from guidedflow.flows.guidance import DenoisedGradient, NoisyGradient
from guidedflow.flows.path import straight_path
from guidedflow.flows.sampling import Sampler
from guidedflow.networks import FLOW_NORM_FIRST, NORM_FIRST, Aggregate, NoisyCritic, SwiftTime, VelocityField
from guidedflow.policies.kinds import FlowPolicy
from guidedflow.policies.policy import Policy
from guidedflow.settings import hyperparameters
from guidedflow.types import Metrics, Scalar, Transition


class State(NamedTuple):
    """Networks and optimiser states of QGF."""

    flow: Learner[VelocityField]
    values: Values
    robust: Learner[NoisyCritic] | None


@hyperparameters
class QGF:
    """Q-Guided Flow: a cloned flow and an IQL critic, which steers the flow only when it acts."""

    weight: float = 0.1
    """Of guidance in `guided` and `robust`; the right one depends on the rewards: see `evaluate --select-weight`."""
    expectile: float = 0.9
    """Of the critic's values over the data's actions: 0.5 is their mean, 1 their maximum."""
    times: Times = Times.uniform
    """Times of the path that the flow is trained at: those of the paper, or the grid of its code."""
    robust: bool = False
    """Also train a critic of noisy actions, for the policy `robust` (RobustQ)."""
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

    shown = ("critic_loss", "flow_loss")

    def init(self, example: Transition, key: PRNGKeyArray) -> State:
        shape, size = example.observation.shape, example.action.size
        flow_key, values_key, robust_key = jax.random.split(key, 3)
        flow = VelocityField(shape, size, self.hidden, SwiftTime(), style=FLOW_NORM_FIRST, key=flow_key)
        values = self.values.init(example, values_key)
        robust = None
        if self.robust:
            noisy_critic = NoisyCritic(shape, size, self.hidden, SwiftTime(), style=NORM_FIRST, key=robust_key)
            robust = Learner.init(noisy_critic, self.optimizer)
        return State(Learner.init(flow, self.optimizer), values, robust)

    def update(self, state: State, batch: Transition, key: PRNGKeyArray) -> tuple[State, Metrics]:
        flow_key, robust_key = jax.random.split(key)
        return self.step(state, batch, cloning.draw(batch, flow_key, self.times), cloning.draw(batch, robust_key))

    def policies(self, state: State) -> dict[str, Policy]:
        flow, critic = state.flow.network, state.values.target_critic
        combine = self.ensemble.acting(Aggregate.min)
        unguided = FlowPolicy(flow=flow, critic=critic, aggregate=combine, sampler=Sampler(self.flow_steps))
        guided = unguided.with_sampler(Sampler(self.flow_steps, DenoisedGradient(self.weight)))
        policies: dict[str, Policy] = {"guided": guided, "flow": unguided}
        if state.robust is not None:
            sampler = Sampler(self.flow_steps, NoisyGradient(self.weight))
            judge = state.robust.network
            policies["robust"] = FlowPolicy(flow=flow, critic=judge, aggregate=combine, sampler=sampler)
        return policies

    @property
    def values(self) -> ImplicitValues:
        """How the values are learned."""
        return ImplicitValues(self.optimizer, self.hidden, self.ensemble, self.expectile, self.tau)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, one state a network."""
        return optax.adam(self.learning_rate)

    def step(self, state: State, batch: Transition, noise: Noise, robust_noise: Noise) -> tuple[State, Metrics]:
        """One update with the given noise: of the flow, and of the critic of noisy actions."""
        target_critic, combine = state.values.target_critic, self.ensemble.actor(Aggregate.min)

        def robust_loss(critic: NoisyCritic, data: Transition, noise: Noise) -> tuple[Scalar, Metrics]:
            point, _ = straight_path(noise.flow_source, data.action, noise.flow_time)
            clean = combine(target_critic.given(data.observation)(data.action))
            loss = squared_error(critic.given(data.observation)(point, noise.flow_time), clean)
            return loss, {"robust_loss": loss}

        flow, metrics = state.flow.step(self.optimizer, flow_loss, batch.acting, noise)
        values, value_metrics = self.values.step(state.values, batch)
        robust = state.robust
        if robust is not None:
            robust, robust_metrics = robust.step(self.optimizer, robust_loss, batch, robust_noise)
            metrics = {**metrics, **robust_metrics}
        return State(flow, values, robust), {**value_metrics, **metrics}
